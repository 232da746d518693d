"""Parts of diffusion models for Inkwash: a network, a schedule, a data source, a metric and a callback."""
