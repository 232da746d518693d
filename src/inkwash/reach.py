"""Ask whether a server answers, within seconds, where libraries try for minutes and then raise."""

import base64
import http.client
import os
import queue
import ssl
import threading
import urllib.request
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import Request, urlopen

T = TypeVar("T")
SECONDS = 5.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
GATEWAY = (502, 503, 504)  # a proxy's answer for a server that it does not reach


def problem_of(address: SplitResult, seconds: float = SECONDS, proxy_prefix: str = "") -> str | None:
    """Return why a server cannot be reached, None if it answers.

    Args:
        address: http or https, and a host.
        proxy_prefix: of variables that name a proxy for this server alone: WANDB for WANDB_HTTPS_PROXY.
    """

    def ask() -> str | None:
        try:
            return _answer(address, seconds, proxy_prefix)
        except Exception as error:  # of sockets, names, TLS, proxies, HTTP
            return " ".join(str(error).split())[:200] or type(error).__name__

    return _within(seconds, ask, f"no answer in {seconds:g} s")


def reachable(url: str, seconds: float = 3.0) -> bool:
    """Tell whether a server answers to a request for a file's headers within so many seconds."""

    def ask() -> bool:
        try:
            urlopen(Request(url, method="HEAD"), timeout=seconds).close()
            return True
        except (OSError, ValueError, http.client.HTTPException):  # a URLError is an OSError
            return False

    return _within(seconds, ask, False)


def _within(seconds: float, ask: Callable[[], T], otherwise: T) -> T:
    """Return the answer to a question, or `otherwise` if it takes longer.

    It is asked in a thread, because the search for a name's address knows no time limit.
    """
    answers = queue.Queue[T]()
    threading.Thread(target=lambda: answers.put(ask()), daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return otherwise


def _answer(parts: SplitResult, seconds: float, proxy_prefix: str) -> str | None:
    """Ask the server for any answer, by the proxy of its library. No key is sent, and no certificate checked."""
    host, secure = parts.hostname or "", parts.scheme != "http"
    port = parts.port or (443 if secure else 80)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    proxy = _proxy(host, secure, proxy_prefix)
    at = (host, port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
    connection = (
        http.client.HTTPSConnection(*at, timeout=seconds, context=context)
        if secure
        else http.client.HTTPConnection(*at, timeout=seconds)
    )
    target, headers = "/", {}
    if proxy is not None:
        headers = _credentials(proxy)
        if secure:
            connection.set_tunnel(host, port, headers)
        else:
            target = f"http://{host}:{port}/"
    connection.request("GET", target, headers={} if secure else headers)
    status = connection.getresponse().status
    connection.close()
    return f"it answers with status {status}" if status in GATEWAY else None


def _proxy(host: str, secure: bool, prefix: str) -> SplitResult | None:
    """Return the proxy of the library's own variable, else that of all programs, unless the host is excepted."""
    kind = "https" if secure else "http"
    proxies = urllib.request.getproxies_environment()
    own = os.environ.get(f"{prefix}_{kind.upper()}_PROXY") if prefix else None
    if not own and (host in LOOPBACK or urllib.request.proxy_bypass(host)):
        return None
    url = own or proxies.get(kind)
    return urlsplit(url if "://" in url else f"http://{url}") if url else None


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    text = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}
