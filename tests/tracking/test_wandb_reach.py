"""Whether W&B's server answers is known within seconds."""

import base64
import logging
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from inkwash.errors import UserError
from inkwash.tracking import wandb_reach
from inkwash.tracking.wandb_reach import problem, reach, reachable_mode


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        for variable in (name, name.upper(), f"WANDB_{name.upper()}"):
            monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("url", ["http://h:99999", "http://h:x", "http://[h", "h:80", "http://h:0"])
def test_a_server_that_has_no_address_is_named(monkeypatch, url):
    monkeypatch.setenv("WANDB_BASE_URL", url)
    with pytest.raises(UserError, match=re.escape(f"WANDB_BASE_URL={url} in the environment is not an address")):
        reach()


@pytest.fixture
def answering():
    """answering(status): the address of a server that gives this answer, and the list of what it was asked."""
    servers = []

    def start(status):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append((self.path, self.headers.get("Proxy-Authorization")))
                self.send_response(status)
                self.end_headers()

            do_CONNECT = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [200, 302, 401, 404, 500])
def test_any_answer_of_the_server_will_do(monkeypatch, answering, status):
    monkeypatch.setenv("WANDB_BASE_URL", f"http://{answering(status)[0]}")
    assert problem() is None
    assert reachable_mode("online") == "online"


def test_a_server_that_is_silent_is_given_up_in_seconds(monkeypatch):
    """wandb#9865, wandb#7671: a training that waited for its dashboard, and died of it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        assert re.search("no answer in 0.3 s|timed out", problem(0.3))
        assert time.monotonic() - start < 2


def test_a_name_that_is_looked_up_for_ever_is_given_up_too(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.example")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(5))
    assert problem(0.2) == "no answer in 0.2 s"


def test_without_a_route_a_run_is_offline_and_says_so(monkeypatch, caplog):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        assert reachable_mode("online") == "offline"
    assert len(caplog.records) == 1
    assert re.search(r"http://127.0.0.1:9 cannot be reached \(.*refused\): this is logged offline", caplog.text)
    with pytest.raises(UserError, match="http://127.0.0.1:9 cannot be reached .*: try again where there is a network"):
        reach()


def test_who_is_offline_anyway_asks_nobody(monkeypatch):
    monkeypatch.setattr(wandb_reach, "problem", lambda: pytest.fail("was asked"))
    assert [reachable_mode(mode) for mode in ("offline", "disabled")] == ["offline", "disabled"]


def test_the_way_is_that_of_the_proxy(monkeypatch, answering):
    """On a cluster that has no other way out."""
    proxy, asked = answering(200)
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.example")
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@{proxy}")
    assert problem() is None
    credentials = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert asked == [("http://wandb.example:80/", credentials)]
    monkeypatch.setenv("no_proxy", ".example")
    assert problem(2) is not None


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "WANDB_HTTPS_PROXY"])
def test_a_proxy_that_refuses_the_tunnel_is_no_way(monkeypatch, answering, variable):
    proxy, asked = answering(502)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    monkeypatch.setenv(variable, proxy)  # without http://, as people write it
    assert "502" in problem()
    assert [path for path, _ in asked] == ["wandb.example:443"]


def test_a_gateway_without_a_server_behind_it_is_no_answer(monkeypatch, answering):
    monkeypatch.setenv("WANDB_BASE_URL", f"http://{answering(503)[0]}")
    assert problem() == "it answers with status 503"
