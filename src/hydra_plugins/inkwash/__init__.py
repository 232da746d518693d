"""Sweepers and a launcher for `inkwash sweep`, in the only package from which Hydra loads plugins.

jobs.py is the base class of both sweepers: grid.py (every combination) and study.py (Optuna; space.py translates its
search space). slots.py is the launcher that runs jobs side by side on this machine. own_folders.py adds the folders of
INKWASH_CONF. They are Hydra's interface only; what needs no Hydra plugin stands in inkwash/sweeps/ and inkwash/config/.

Hydra imports these modules at every start of every command: torch, Optuna and the like are imported inside functions.
"""
