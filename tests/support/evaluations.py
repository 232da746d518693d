"""Results of cells of an evaluation, as jobs/evaluate.py stores them."""


def cell(name, sampler, steps, seed, metrics, records):
    """Return a result of 100 images."""
    return {
        "name": name, "sampler": sampler, "steps": steps, "guidance": 1.0, "seed": seed, "weights": "ema",
        "num_images": 100, "evaluations": steps, "seconds": 1.0, "metrics": metrics, "records": records,
    }  # fmt: skip
