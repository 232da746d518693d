"""Features in full float32 precision, and the process's settings as they were (public reports on EDM and EDM2)."""

import subprocess
import sys

import pytest
import torch

from inkwash.metrics.extractors.base import FeatureExtractor
from inkwash.metrics.extractors.precision import full_precision

CPU = torch.device("cpu")


class Witness(FeatureExtractor):
    """Notes the settings under which it computes."""

    name, hash, dim = "witness", "0" * 12, 1

    def features(self, images):
        self.seen = settings()
        return images.flatten(1).float()[:, :1]


def settings():
    return (
        torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision,
        torch.is_autocast_enabled("cpu"),
    )  # fmt: skip


@pytest.fixture
def tf32():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.usefixtures("tf32")
def test_features_are_computed_without_tf32_and_the_settings_come_back():
    eyes, images = Witness(), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        before = settings()
        assert before[0] == "high"
        assert before[1]
        eyes(images)
        assert settings() == before
    assert eyes.seen[:3] == ("highest", False, False)
    assert eyes.seen[3:] == ("ieee", "ieee", False)


@pytest.mark.usefixtures("tf32")
def test_the_settings_come_back_after_an_error():
    before = settings()
    with pytest.raises(ZeroDivisionError), full_precision(CPU):
        raise ZeroDivisionError
    assert settings() == before


def test_settings_by_the_newer_interface_come_back():
    """torch's newer fp32_precision, after which the older calls refuse to be read: in a process of its own."""
    code = """
import torch
from inkwash.metrics.extractors.precision import full_precision
matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
matmul.fp32_precision = conv.fp32_precision = "tf32"
with full_precision(torch.device("cpu")):
    assert matmul.fp32_precision == conv.fp32_precision == "ieee", (matmul.fp32_precision, conv.fp32_precision)
assert matmul.fp32_precision == conv.fp32_precision == "tf32", (matmul.fp32_precision, conv.fp32_precision)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
