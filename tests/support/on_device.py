"""Tensors that stand for those of a GPU: reading a value of one raises, as torch's sync debug mode does there."""

import torch


class WaitedError(AssertionError):
    """A value was read."""


READS = {
    torch.Tensor.__bool__, torch.Tensor.__float__, torch.Tensor.__int__, torch.Tensor.__index__, torch.Tensor.item,
    torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.nonzero, torch.nonzero, torch.equal,
    torch.Tensor.equal, torch.allclose, torch.Tensor.allclose, torch.masked_select, torch.Tensor.masked_select,
    torch.Tensor.new_tensor, torch.unique, torch.Tensor.unique, torch.bincount, torch.Tensor.bincount,
    torch.linalg.solve, torch.linalg.inv, torch.linalg.cholesky,  # they look whether they succeeded
}  # fmt: skip


class OnDevice(torch.Tensor):
    """A tensor whose values, and those of all that is computed from it, must not be read."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        to_host = func is torch.Tensor.to and "cpu" in (*args[1:], *(kwargs or {}).values())
        # The number of places where a mask is true has to be known, or the shape of what is left.
        masked = func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and _is_mask(args[1])
        if func in READS or to_host or masked or (func in (torch.where, torch.Tensor.where) and len(args) == 1):
            raise WaitedError(f"{getattr(func, '__name__', func)} waits for the device")
        return super().__torch_function__(func, types, args, kwargs or {})


def _is_mask(index):
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in parts)


def copies(make):
    """Return torch.tensor or torch.as_tensor, which wait for the device that they copy a number to."""

    def checked(*args, device=None, **kwargs):
        if device is not None:
            raise WaitedError(f"{make.__name__} of numbers of the host waits for the device that it copies them to")
        return make(*args, **kwargs)

    return checked


def on_device(tensor):
    """Return the tensor as one of a device."""
    return tensor.as_subclass(OnDevice)
