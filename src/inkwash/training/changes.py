"""What becomes of a changed key when a run goes on from a checkpoint. No torch: the launcher asks too.

A key's rule is that of the longest name in RULES that it begins with.
"""

from typing import Any, NamedTuple

APPLIED, IGNORED, FORBIDDEN = "applied", "ignored", "forbidden"

RULES = {
    "": (APPLIED, ""),
    "model": (FORBIDDEN, "the weights fit no other network"),
    "model.checkpointing": (APPLIED, ""),
    "schedule": (FORBIDDEN, "the weights are of a network for this path"),
    "prediction": (FORBIDDEN, "the weights are of a network with this output"),
    "optimizer._target_": (FORBIDDEN, "an optimizer's state fits no other"),
    "data.source": (FORBIDDEN, "other images are another run"),
    "data.source.cache_dir": (APPLIED, ""),
    "data.source.window": (APPLIED, "the order of the images is another from here on"),
    "data.shape": (FORBIDDEN, "other images are another run"),
    "data.num_classes": (FORBIDDEN, "other labels are another run"),
    "data.batch_size": (APPLIED, "step s takes images s * batch_size and on, as if it had always been so"),
    "data.flip": (APPLIED, "the order of the images is another from here on"),
    "data.seed": (APPLIED, "the order of the images is another from here on"),
    "seed": (APPLIED, "the noise and times are others from here on"),
    "init_from": (IGNORED, "the run has weights of its own"),
}
# Before the first step only these have left their mark: an imported run chooses its data and optimizer then.
OF_THE_WEIGHTS = ("model", "schedule", "prediction")
SHOWN = 20


class Change(NamedTuple):
    """A key whose value differs, and what becomes of that."""

    key: str
    old: Any
    new: Any
    rule: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new} ({self.rule}{self.reason and ': '}{self.reason})"


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Every key of two configurations whose value differs, in the order of the new one."""
    before, after = _flat(old), _flat(new)
    return [
        Change(key, before.get(key), after.get(key), *_rule(key))
        for key in dict.fromkeys([*after, *before])
        if before.get(key) != after.get(key)
    ]


def forbidden(old: dict[str, Any], new: dict[str, Any], step: int | None) -> Change | None:
    """The first change that a checkpoint of a step cannot go on with; a step of None is some step after the first."""
    found = (change for change in changes(old, new) if change.rule == FORBIDDEN)
    return next((change for change in found if step != 0 or change.key.split(".")[0] in OF_THE_WEIGHTS), None)


def refusal(run: Any, change: Change) -> str:
    """The sentence for a forbidden change."""
    group = change.key.split(".")[0]
    start = "" if group == "model" else f", or start from its weights with run=NAME init_from={run}"
    return (
        f"{run} holds a checkpoint of another {change.key} ({change.old} there, {change.new} now), and "
        f"{change.reason}: choose another run=NAME{start}"
    )


def described(found: list[Change]) -> list[str]:
    """A line for each change, as far as anybody reads."""
    lines = [str(change) for change in found[:SHOWN]]
    rest = len(found) - len(lines)
    return [*lines, f"and {rest} more: config.yaml has them"] if rest else lines


def _rule(key: str) -> tuple[str, str]:
    fits = [name for name in RULES if name == "" or key == name or key.startswith(f"{name}.")]
    return RULES[max(fits, key=len)]


def _flat(node: Any, key: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; a list is one leaf."""
    if not isinstance(node, dict) or (key and not node):
        return {key: node}
    parts = (_flat(item, f"{key}.{part}".lstrip(".")) for part, item in node.items())
    return {name: leaf for part in parts for name, leaf in part.items()}
