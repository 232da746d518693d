"""What is wrong with a command line is told before Hydra runs anything, or in its words made a sentence."""

import pytest

from inkwash import command
from inkwash.errors import UserError


def ends(monkeypatch, main, *arguments):
    """The sentence that a command ends with."""
    monkeypatch.setattr("sys.argv", ["inkwash", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, str)
    assert "\n" not in end.value.code
    assert len(end.value.code) < 500
    return end.value.code


def test_a_mistake_found_after_a_job_is_a_sentence_and_a_bug_is_not(monkeypatch):
    def raising(error):
        def task(_config):
            raise error

        return lambda: command.run(task, "train")

    sentence = "hydra.sweeper.metric=nope was not measured"
    assert ends(monkeypatch, raising(UserError(sentence))) == f"error: {sentence}"
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())()
