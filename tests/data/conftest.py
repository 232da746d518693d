import io
import tarfile

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

    def write(path, images, labels=None, column="image", **options):
        encoded = [image if isinstance(image, bytes | None) else encode(image) for image in images]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = {column: pa.array([{"bytes": value, "path": None} for value in encoded], kind)}
        if labels is not None:
            table["label"] = pa.array([int(label) if label is not None else None for label in labels], pa.int64())
        pq.write_table(pa.table(table), path, **options)
        return str(path)

    return write


@pytest.fixture
def write_tar(encode):
    """Write images (uint8 arrays, or bytes as they are) and labels the way WebDataset does: 000000.png, 000000.cls."""

    def write(path, images, labels=None, **more):
        with tarfile.open(path, "w") as tar:
            for i, image in enumerate(images):
                parts = {"png": image if isinstance(image, bytes) else encode(image)}
                if labels is not None:
                    parts["cls"] = str(labels[i]).encode()
                for extension, content in (parts | {key: value[i] for key, value in more.items()}).items():
                    member = tarfile.TarInfo(f"{i:06d}.{extension}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        return str(path)

    return write
