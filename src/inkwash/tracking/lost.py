"""Leave a logger alone once what it sends to has gone: no training ends because of a dashboard."""

import functools
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)
Method = Callable[..., None]


def until_lost(reason: Callable[[Any, Exception], str | None]) -> Callable[[Method], Method]:
    """Make a method of a logger do nothing once an error has shown that there is nothing more to send to.

    The logger has an attribute `gone`, False before.

    Args:
        reason: takes the logger and an error; returns the first part of a warning, or None for an error that is raised.
    """

    def decorated(method: Method) -> Method:
        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            if self.gone:
                return
            try:
                method(self, *args, **kwargs)
            except Exception as error:
                if (said := reason(self, error)) is None:
                    raise
                self.gone = True
                log.warning("%s; metrics.csv goes on without it", said)

        return call

    return decorated
