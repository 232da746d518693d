"""Which keys a resume reports as changed."""

from inkwash.runs.resume_check import changes


def test_another_default_that_does_the_same_is_no_change():
    old = {"trainer": {"num_nodes": 1}, "logger": {"wandb": {"project": "inkwash", "tags": []}}}
    new = {"trainer": {"num_nodes": "auto"}, "logger": {"wandb": {"project": None, "tags": None}}}
    assert changes(old, new) == []
    assert [str(change) for change in changes(new, old)] != []
    new["logger"]["wandb"]["project"] = "thesis"
    assert [str(change) for change in changes(old, new)] == ["logger.wandb.project: inkwash -> thesis (applied)"]
