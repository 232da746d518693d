"""Describe the machine of the figures: processor, flags, versions, commit, date, and whether it was busy."""

import datetime
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # of /proc/cpuinfo: what decides how fast convolutions are
PACKAGES = (
    "torch", "torchvision", "lightning", "diffusers", "accelerate", "denoising-diffusion-pytorch", "ema-pytorch",
)  # fmt: skip
BUSY = 0.25  # load of a core at which a machine counts as busy


def facts() -> dict[str, Any]:
    """Return facts for the head of a report, as plain types."""
    from inkwash.runs.provenance import version

    has = set(cpu_info().get("flags", "").split())
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": version(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in has],
        "versions": {"python": sys.version.split()[0], **{name: _version(name) for name in PACKAGES}},
    }


def processor() -> str:
    """Return the name of the processor."""
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def load() -> float:
    """Return how many processes wanted to run over the last minute."""
    return round(os.getloadavg()[0], 2)


def is_busy(load: float) -> bool:
    """Tell whether a load before anything was started disturbs what is measured."""
    return load > BUSY * (os.cpu_count() or 1)


def cpu_info(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return what Linux says of the first processor; nothing elsewhere."""
    if not path.exists():
        return {}
    lines = path.read_text().partition("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
