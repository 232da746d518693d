import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture
def noise():
    """Random pixels: uint8 of any shape, the same in every run."""
    rng = np.random.default_rng(0)
    return lambda *shape: rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def encode():
    """The bytes of a PNG of (H, W) or (H, W, channels)."""

    def png(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return png


@pytest.fixture
def write_parquet(encode):
    """Write images (uint8 arrays, or bytes as they are) and labels the way Hugging Face does."""

    def write(path, images, labels=None, column="image"):
        encoded = [image if isinstance(image, bytes | None) else encode(image) for image in images]
        table = {column: [{"bytes": value, "path": None} for value in encoded]}
        if labels is not None:
            table["label"] = [int(label) if label is not None else None for label in labels]
        pq.write_table(pa.table(table), path)
        return str(path)

    return write
