"""Print to readers that may go, as `| head` does, or whose encoding lacks a letter. Without torch."""

import io
import os
import sys
from typing import Any


class Patient(io.FileIO):
    """An open file descriptor to which nothing more is written once its reader has gone."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return super().write(data)


def tolerate_readers() -> None:
    """Let print and logging work on, whatever becomes of the reader of stdout or stderr.

    Losing the terminal does not end a training, and `inkwash ... | head` does not make a command fail.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):  # closed, or captured
            continue
        errors = "replace" if stream.errors == "strict" else stream.errors
        if stream.isatty():
            stream.reconfigure(errors=errors)
            continue
        stream.flush()
        file: Any = Patient(stream.fileno(), "w", closefd=False)
        if not stream.write_through:  # of python -u
            file = io.BufferedWriter(file)
        buffering = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
        setattr(sys, name, io.TextIOWrapper(file, stream.encoding, errors, **buffering))
