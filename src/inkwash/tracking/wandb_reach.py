"""Can the W&B server be reached from here? Answered in seconds; W&B itself tries for minutes, and then raises."""

import base64
import http.client
import logging
import os
import queue
import ssl
import threading
import urllib.request
from urllib.parse import SplitResult, unquote, urlsplit

from inkwash.errors import UserError
from inkwash.tracking.wandb_settings import address, chosen_mode, server

SECONDS = 5.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
GATEWAY = (502, 503, 504)  # a proxy's answer for a server that it does not reach
log = logging.getLogger(__name__)


def reachable_mode(mode: str | None) -> str:
    """Return the mode to log in: `chosen_mode`, but offline with a warning if the server cannot be reached."""
    chosen = chosen_mode(mode)
    if chosen in ("online", "shared") and (reason := problem()):
        log.warning("W&B          %s cannot be reached (%s): this is logged offline, for `make sync`", server(), reason)
        return "offline"
    return chosen


def reach() -> None:
    """Raise UserError if the server cannot be reached."""
    if reason := problem():
        raise UserError(f"{server()} cannot be reached ({reason}): try again where there is a network")


def problem(seconds: float = SECONDS) -> str | None:
    """Return why the server cannot be reached, None if it answers.

    The question is asked in a thread, because the search for a name may take longer than any timeout.
    """
    parts, answers = address(), queue.Queue[str | None]()

    def ask() -> None:
        try:
            answers.put(_answer(parts, seconds))
        except Exception as error:  # of sockets, names, TLS, proxies, HTTP
            answers.put(" ".join(str(error).split())[:200] or type(error).__name__)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"no answer in {seconds:g} s"


def _answer(parts: SplitResult, seconds: float) -> str | None:
    """Ask the server for any answer, by the proxy that W&B would take. No key is sent, and no certificate checked."""
    host, secure = parts.hostname or "", parts.scheme != "http"
    port = parts.port or (443 if secure else 80)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    proxy = _proxy(host, secure)
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


def _proxy(host: str, secure: bool) -> SplitResult | None:
    """Return the proxy of W&B's own variable, or the one that all programs take, unless the host is excepted."""
    kind = "https" if secure else "http"
    proxies = urllib.request.getproxies_environment()
    own = os.environ.get(f"WANDB_{kind.upper()}_PROXY")
    if not own and (host in LOOPBACK or urllib.request.proxy_bypass(host)):
        return None
    url = own or proxies.get(kind)
    return urlsplit(url if "://" in url else f"http://{url}") if url else None


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    text = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}
