"""The floating-point precision of a training, and the context in which networks compute.

`precision=auto` is chosen by timing (mode_choice.py); before there was that, by `resolve_precision`.
"""

import torch

from inkwash.errors import UserError

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")


def is_auto(value: object) -> bool:
    """Tell whether a key of the trainer is left to a choice."""
    return value == "auto"


def check_precision(precision: str) -> None:
    """Raise UserError if the name is unknown."""
    if precision not in PRECISIONS:
        raise UserError(f"trainer.precision={precision} must be one of {', '.join(PRECISIONS)}")


def bf16_is_native(device: torch.device) -> bool:
    """Tell whether a device has instructions for bfloat16; on a CPU that does not mean that they are fast."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # What torch's kernels use (ATEN_CPU_CAPABILITY may lower it), and what the processor has.
    kernels, has = torch.backends.cpu.get_cpu_capability(), torch.cpu.get_capabilities()
    able = kernels.startswith("AVX512") and has.get("avx512_bf16", False)
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and able


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return a precision; `auto` is bf16-mixed if the device has bfloat16, as it was for runs that did not time it.

    Raises:
        UserError: the name is unknown.
    """
    check_precision(precision)
    if not is_auto(precision):
        return precision
    return "bf16-mixed" if bf16_is_native(device) else "32-true"


def allow_tf32(device: torch.device) -> None:
    """Let float32 matrix products of a training on a GPU use TF32, with 10 bits of the mantissa."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which the networks of a run of that precision compute."""
    dtype = torch.float16 if precision.startswith("16") else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision.endswith("mixed"))
