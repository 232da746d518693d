"""Inkwash: train image diffusion models as experiments (PyTorch Lightning, Hydra, Weights & Biases)."""

__version__ = "0.1.0"
