"""Format the traceback of a bug without the calls inside Lightning and torch, between ours and the user's own."""

import re
import sysconfig
import traceback
from itertools import groupby
from pathlib import Path

# Packages whose calls lead from one part of a program to another, and say nothing of why it failed.
BETWEEN = ("lightning", "pytorch_lightning", "lightning_fabric", "torch", "hydra")


def short_traceback(error: BaseException) -> str:
    """Return the traceback of an error and of what caused it; the call that raised is always there."""
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    while part is not None:
        part.stack = _short(part.stack)
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    text = "".join(whole.format()).rstrip()
    return re.sub(r'File "(.+?)", line None, in (\d+)', r"... \2 calls inside \1", text)


def _short(stack: traceback.StackSummary) -> traceback.StackSummary:
    """Replace each row of calls inside BETWEEN by one line that counts them."""
    frames: list[traceback.FrameSummary] = []
    for between, found in groupby(stack[:-1], key=lambda frame: _package(frame.filename) is not None):
        calls = list(found)
        if between and len(calls) > 1:
            names = sorted({str(_package(call.filename)) for call in calls})
            calls = [traceback.FrameSummary(" and ".join(names), None, str(len(calls)), lookup_line=False, line="")]
        frames += calls
    return traceback.StackSummary.from_list([*frames, *stack[-1:]])


def _package(file: str) -> str | None:
    """Return the one of BETWEEN that a file belongs to, else None."""
    path, libraries = Path(file), Path(sysconfig.get_path("purelib"))
    name = path.relative_to(libraries).parts[0] if path.is_relative_to(libraries) else None
    return name if name in BETWEEN else None
