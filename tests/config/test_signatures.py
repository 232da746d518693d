"""A node's arguments are compared with its target's signature."""

import ast

import pytest

from inkwash.config.annotations import described, fits
from inkwash.config.validate import check
from inkwash.errors import UserError


def test_check_knows_every_argument_of_every_target():
    from omegaconf import OmegaConf

    bad = OmegaConf.create({"a": {"b": [{"_target_": "inkwash.samplers.ddim.DDIM", "spacing": None, "etta": 0}]}})
    with pytest.raises(UserError, match=r"a.b\[0\].etta: DDIM has no such argument; did you mean a.b\[0\].eta\?"):
        check(bad)
    inherited = OmegaConf.create({"spacing": {"_target_": "inkwash.process.spacing.Trailing", "stps": 3}})
    with pytest.raises(UserError, match=r"did you mean spacing.steps\?"):
        check(inherited)
    with pytest.raises(UserError, match="there is no module inkwash.nope"):
        check(OmegaConf.create({"x": {"_target_": "inkwash.nope.Thing"}}))


@pytest.mark.parametrize(
    ("kind", "value", "what"),
    [
        ("dict[str, Any]", 1, "a mapping"),
        ("list[Any] | None", 1, "a list or null"),
        ("dict[str, int]", 1, "a mapping, each value a whole number"),
        ("float", 10**400, "a finite number"),
        ("float | None", -(10**400), "a finite number or null"),
    ],
    ids=lambda part: str(part)[:12],
)
def test_what_does_not_fit_is_told(kind, value, what):
    annotation = ast.parse(kind, mode="eval").body
    assert (fits(annotation, value), described(annotation)) == (False, what)
    assert fits(ast.parse("int", mode="eval").body, 10**400)


def test_a_literal_of_one_choice_is_that_choice():
    kind = ast.parse('Literal["warn"]', mode="eval").body
    assert [fits(kind, value) for value in ("warn", "w", "")] == [True, False, False]
    assert described(kind) == "warn"
