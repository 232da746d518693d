"""Register the schemas and resolvers that conf/ refers to: Hydra imports its plugins before it composes."""

from omegaconf import OmegaConf

from inkwash.config import schema
from inkwash.sweeps.plan import sweep_name

schema.register()
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
