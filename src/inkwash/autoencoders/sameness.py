"""Tell whether latents mean the same to two networks: by configurations and checkpoints, without torch."""

from collections.abc import Mapping
from typing import Any

from inkwash.autoencoders.refusals import sees_pixels
from inkwash.runs.resume_check import Change, changes

WITHOUT_EFFECT = ("path", "cache", "batch_size")  # arguments of an autoencoder on which no latent depends
# Of a channel's deviation: the same images on another device agree to rounding, others of the kind to a few percent.
TOLERANCE = 0.05


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], weights: tuple[str | None, str | None]
) -> list[Change]:
    """List in what the autoencoders of two configurations differ: in the key, or in their weights.

    Args:
        weights: both fingerprints (Autoencoder.fingerprint), None where one is unknown.
    """
    if sees_pixels(there) and sees_pixels(here):
        return []
    if sees_pixels(there) or sees_pixels(here):
        old, new = ("none" if sees_pixels(c) else c["autoencoder"]["_target_"] for c in (there, here))
        return [Change("autoencoder", old, new, "", "")]
    found = changes(*({"autoencoder": _meaning(config["autoencoder"])} for config in (there, here)))
    if not found and None not in weights and weights[0] != weights[1]:
        old, new = (f"weights {str(value)[:8]}" for value in weights)
        found = [Change("autoencoder.path", old, new, "", "")]
    return found


def normalised_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two normalisations, as checkpoints have them, give about the same latents."""
    rows = zip(one["mean"], one["dev"], other["mean"], other["dev"], strict=True)
    return all(abs(m - mean) <= TOLERANCE * dev and abs(d - dev) <= TOLERANCE * dev for m, d, mean, dev in rows)


def _meaning(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in WITHOUT_EFFECT}
