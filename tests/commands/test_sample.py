import pytest

from inkwash.commands.sample import label_of, only_sampler
from inkwash.errors import UserError
from inkwash.files import write_json
from inkwash.runs.directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    def with_names(*names):
        run = RunDirectory(tmp_path)
        write_json(run.record_path, {"id": "x", "data": {"classes": names, "named": True}})
        return run

    return with_names


def test_a_class_is_named_or_numbered(run):
    animals = run("cat", "dog")
    assert [label_of(typed, animals) for typed in (None, "dog", 0)] == [None, 1, 0]


def test_a_name_that_is_a_number_is_a_name(run):
    assert [label_of(typed, run("0", "1", "10")) for typed in (10, "10", 1)] == [2, 2, 1]


def test_where_names_are_numbers_a_number_is_a_name(run):
    """Not the place of a class: 5 would be the class 06 of 01 to 12."""
    months = run(*(f"{month:02d}" for month in range(1, 13)))
    assert [label_of(typed, months) for typed in (5, "05", 12)] == [4, 4, 11]
    with pytest.raises(UserError, match=r"label=13 is not one of the 12 classes of run=.*: did you mean 1"):
        label_of(13, months)
    with pytest.raises(UserError, match=r"label=2 is not one of the 3 classes"):
        label_of(2, run("1", "12", "cat"))


def test_a_boolean_names_a_class_of_a_boolean_column(run):
    assert [label_of(typed, run("false", "true")) for typed in (True, False, "true")] == [1, 0, 1]


def test_an_unknown_name_is_answered_by_the_nearest(run):
    with pytest.raises(UserError, match=r"label=dgo is not one of the 2 classes .* did you mean dog\?"):
        label_of("dgo", run("cat", "dog"))
    with pytest.raises(UserError, match="the classes of run=.* have no names: give a number"):
        label_of("dog", run())


def test_an_accent_is_found_however_it_is_stored(run):
    """Folders of macOS store a letter and its accent apart, keyboards type one letter."""
    assert label_of("caf\u00e9", run("bar", "cafe\u0301")) == 1
    assert label_of("cafe\u0301", run("bar", "caf\u00e9")) == 1


def test_a_boolean_names_a_folder_in_capitals(run):
    assert [label_of(typed, run("False", "True")) for typed in (True, False)] == [1, 0]


@pytest.mark.parametrize(
    ("typed", "task", "steps"),
    [
        (["run=x"], "Generate", 2),
        (["run=x", "spacing.steps=4"], "Generate", 4),
        (["run=x", "seed=1", "+spacing.steps=1"], "Generate", 1),
        (["run=x", "sampler=ddim"], "Generate", None),
        (["run=x", "sampler.clip=null"], "Generate", None),
        (["run=x", "spacing=karras"], "Generate", None),
        (["run=x"], "Inpaint", None),
    ],
)
def test_a_run_of_consistency_is_drawn_as_it_was_trained(tmp_path, compose_config, typed, task, steps):
    run = RunDirectory(tmp_path)
    trained = compose_config("experiment=ect_digits")
    run.write_config(trained)
    asked = next((int(word.partition("=")[2]) for word in typed if "spacing.steps" in word), 50)
    plain = {"task": {"_target_": f"inkwash.editing.tasks.{task}"}, "spacing": {"steps": asked}}
    found = only_sampler(run, plain, typed)
    if steps is None:
        assert found is None
    else:
        assert found == {**trained["sampler"], "spacing": {**trained["sampler"]["spacing"], "steps": steps}}
    run.write_config(compose_config())
    assert only_sampler(run, plain, typed) is None
