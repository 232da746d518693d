"""Register the schemas and resolvers that conf/ refers to: Hydra imports its plugins before it composes."""

from omegaconf import OmegaConf

from inkwash.autoencoders.files import resolve_latent_shape
from inkwash.autoencoders.refusals import resolve_pixel_clip
from inkwash.config import schema, shapes
from inkwash.sweeps.plan import sweep_name

schema.register()
shapes.register()
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
OmegaConf.register_new_resolver("latent_shape", resolve_latent_shape, replace=True)
OmegaConf.register_new_resolver("pixel_clip", resolve_pixel_clip, replace=True)
