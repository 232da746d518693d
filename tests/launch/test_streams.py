"""Output to a reader that goes, as `| head` does, or that cannot show every letter."""

import subprocess
import sys

import pytest

from support.runs import environment

TOLERANT = "import sys, time\nfrom inkwash.launch.streams import tolerate_readers\ntolerate_readers()\n"
SAYS = """
out = sys.{stream}
print(1, file=out, flush=True)
time.sleep(0.5)
print("2" * 99999, file=out)
print(3, file=out, flush=True)
print(4, file=out)
open("done", "w")
{end}
"""


def shell(line, cwd, **variables):
    """Run a line for bash in which $0 is Python; returns what was printed, and the statuses of the two commands."""
    command = ["bash", "-c", f'{line}; echo "${{PIPESTATUS[*]}}"', sys.executable]
    done = subprocess.run(command, cwd=cwd, env=environment(**variables), capture_output=True, text=True)
    *said, statuses = done.stdout.splitlines()
    return "\n".join(said) + done.stderr, statuses


@pytest.mark.parametrize(
    ("flag", "stream", "end"), [("", "stdout", ""), ("-u", "stderr", "raise SystemExit(3)"), ("-u", "stdout", "")]
)
def test_a_reader_that_goes_ends_nothing(tmp_path, flag, stream, end):
    """Neither a line that is flushed, nor those that Python flushes at its end; what is done goes on to its end."""
    (tmp_path / "says.py").write_text(TOLERANT + SAYS.format(stream=stream, end=end))
    redirect = "2>&1 >/dev/null" if stream == "stderr" else ""
    assert shell(f"$0 {flag} says.py {redirect} | head -n 1", tmp_path) == ("1", f"{3 if end else 0} 0")
    assert (tmp_path / "done").exists()


def test_a_letter_that_the_terminal_does_not_have_is_replaced(tmp_path):
    (tmp_path / "says.py").write_text(TOLERANT + "print('a \\u2013 b')")
    assert shell("$0 says.py", tmp_path, PYTHONIOENCODING="latin-1") == ("a ? b", "0")


def test_a_command_ends_quietly(tmp_path):
    assert shell("$0 -m inkwash --help | true", tmp_path) == ("", "0 0")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["runs", "train --help", "summary debug=fast", "trian", "compare runs=a"])
def test_jobs_and_mistakes_end_quietly(tmp_path, command):
    said, statuses = shell(f"$0 -m inkwash {command} 2>&1 | true", tmp_path)
    assert (said, statuses) == ("", f"{int(command in ('trian', 'compare runs=a'))} 0")
