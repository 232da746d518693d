"""`inkwash average`: an evaluation of several lengths."""

import pytest

from inkwash.commands.average import LENGTHS, as_evaluation, check_snapshots
from inkwash.errors import UserError


def test_lengths_become_weights():
    assert as_evaluation(["run=a", "length=0.05,0.1", "seed=1"]) == [
        "run=a", "seed=1", "weights=ema,posthoc_0.05,posthoc_0.1",
    ]  # fmt: skip
    assert as_evaluation(["run=a", "length=[0.05, 0.1]"])[-1] == "weights=ema,posthoc_0.05,posthoc_0.1"
    assert as_evaluation(["run=a"])[-1].count("posthoc_") == LENGTHS.count(",") + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["length=long"], "length=long must be a number, or several"),
        (["length=0.1,"], "length= must be a number"),
        (["length=0.1", "weights=raw"], "average names the weights itself"),
    ],
)
def test_what_is_no_length_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        as_evaluation(["run=a", *words])


def test_a_run_without_snapshots_ends_in_a_sentence(tmp_path):
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(UserError, match=r"posthoc_0.05 needs snapshots, .* train with 'callbacks=\[default,posthoc\]'"):
        check_snapshots([f"run={tmp_path}", "weights=ema,posthoc_0.05,posthoc_0.1"])
    check_snapshots(["weights=ema,posthoc_0.05"])  # evaluate says what is missing
