"""The floating-point precision of a training: `precision=auto`, and the context in which networks compute."""

import torch

from inkwash.errors import UserError

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return a precision; `auto` is bf16-mixed if the device multiplies bf16 natively, else 32-true.

    Raises:
        UserError: the name is unknown.
    """
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision} must be one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and torch.backends.mkldnn.is_available() and _cpu_multiplies_bf16()
    return "bf16-mixed" if native else "32-true"


def _cpu_multiplies_bf16() -> bool:
    # What torch's kernels use (ATEN_CPU_CAPABILITY may lower it), and what the processor has.
    kernels = torch.backends.cpu.get_cpu_capability()
    return kernels.startswith("AVX512") and torch.cpu.get_capabilities().get("avx512_bf16", False)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which the networks of a run of that precision compute."""
    dtype = torch.float16 if precision.startswith("16") else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision.endswith("mixed"))
