"""Ask whether a server answers, within seconds, where libraries try for minutes."""

import contextlib
import threading
from http.client import HTTPException
from urllib.request import Request, urlopen


def reachable(url: str, seconds: float = 3.0) -> bool:
    """Tell whether a server answers to a request for a file's headers within so many seconds."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError, HTTPException):  # a URLError is an OSError
            urlopen(Request(url, method="HEAD"), timeout=seconds).close()
            answered.set()

    # In a thread of its own, because the search for a name's address knows no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
