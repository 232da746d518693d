"""Which files are broken, and which tests look at them."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "src" / "inkwash"
PARTS = {
    ".": "denoiser guidance images muon random",
    "process": "betas schedules forward predictions variances spacing weightings times",
    "losses": "base simple distances vlb jumps mean_flow shortcut consistency autoencoder",
    "likelihood": "bound flow",
    "samplers": "base ancestral clipping consistency ddim dpm_solver heun inversion trajectory unipc",
    "nets": "blocks dit edm2 layout magnitude positions song song_blocks transformer unet",
    "metrics": "accuracy bits_per_dim density_coverage frechet frechet_infinity frechet_interval frechet_reweighted "
    "inception_score kernel memorisation moments neighbours per_image precision_recall",
    "training": "clipping ema learning_rate",
    "runs": "averages",
    "checkpoints": "posthoc",
    "editing": "masks repaint",
    "data": "augment",
}
FILES = [PACKAGE / folder / f"{name}.py" for folder, names in PARTS.items() for name in names.split()]
# Not those that train for long, or that start other processes, where nothing is broken.
TESTED = {
    ".": "denoiser guidance images muon random",
    "metrics": "accuracy bits_per_dim density_coverage frechet memorisation moments neighbours own_metric parity "
    "uncertainty",
    "training": "clipping ema learning_rate",
    "training/callbacks": "ema_distance snapshots",
    "interop": "dit_weights unet_weights",
    "autoencoders": "network",
    "data": "augment",
    "editing": "masks repaint",
    "runs": "averages",
}
TESTS = ["process", "losses", "likelihood", "samplers", "nets"]
TESTS += [f"{folder}/test_{name}.py" for folder, names in TESTED.items() for name in names.split()]


def name(path: Path) -> str:
    """Return the name of a file in reports: its path in the package."""
    return path.relative_to(PACKAGE).as_posix()


def distance(path: Path, test: str) -> int:
    """Return 0 for tests of the module, by the file's name, 1 for tests of its package, 2 for all others."""
    near = Path(test.partition("::")[0])
    if near.stem == f"test_{path.stem}":
        return 0
    return 1 if near.parent.name == path.parent.name else 2
