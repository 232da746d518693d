"""Sweepers and a launcher of Inkwash's, here because Hydra loads plugins from the package hydra_plugins only.

Hydra imports these modules at every start of every command: torch, Optuna and the like are imported inside functions.
"""
