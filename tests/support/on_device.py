"""Tensors that stand for those of a GPU: reading a value of one raises, as torch's sync debug mode does there."""

import torch


class WaitedError(AssertionError):
    """A value was read."""


READS = {
    torch.Tensor.__bool__, torch.Tensor.__float__, torch.Tensor.__int__, torch.Tensor.__index__, torch.Tensor.item,
    torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.nonzero, torch.nonzero, torch.equal,
    torch.Tensor.equal, torch.allclose, torch.Tensor.allclose, torch.masked_select, torch.Tensor.masked_select,
}  # fmt: skip


class OnDevice(torch.Tensor):
    """A tensor whose values, and those of all that is computed from it, must not be read."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in READS or (func is torch.Tensor.to and "cpu" in (*args[1:], *(kwargs or {}).values())):
            raise WaitedError(f"{getattr(func, '__name__', func)} waits for the device")
        return super().__torch_function__(func, types, args, kwargs or {})


def on_device(tensor):
    """Return the tensor as one of a device."""
    return tensor.as_subclass(OnDevice)
