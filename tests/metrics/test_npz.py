import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from inkwash.data.images import Images
from inkwash.errors import UserError
from inkwash.metrics.frechet import FrechetDistance
from inkwash.metrics.moments import Moments
from inkwash.metrics.npz import Provenance, read_npz, write_npz
from inkwash.metrics.reference import Reference
from inkwash.metrics.suite import Suite
from support.extractors import SmallExtractor

MADE = Provenance(450, "classifier", "0123456789ab", "f00d", "heldout", "none")
MOMENTS = Moments(450, torch.arange(3.0).double(), torch.eye(3, dtype=torch.float64) / 3)


def test_round_trip(tmp_path):
    write_npz(tmp_path / "deep" / "ref.npz", MOMENTS, MADE)
    moments, provenance = read_npz(tmp_path / "deep" / "ref.npz", MADE)
    assert provenance == MADE
    assert moments.n == 450
    assert torch.equal(moments.mean, MOMENTS.mean)
    assert torch.equal(moments.covariance, MOMENTS.covariance)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ref.npz"]


def test_other_readers_find_their_arrays(tmp_path):
    """pytorch-fid reads f["mu"][:] and f["sigma"][:]; EDM makes a dictionary of all there is, with no pickles."""
    write_npz(tmp_path / "ref.npz", MOMENTS, MADE)
    with np.load(tmp_path / "ref.npz") as file:
        everything = dict(file)
        assert (file["mu"][:].dtype, file["sigma"][:].dtype) == (np.float64, np.float64)
    assert np.array_equal(everything["sigma"], MOMENTS.covariance.numpy())
    assert json.loads(str(everything["provenance"])) == asdict(MADE)


def test_a_foreign_file_is_read_and_its_gaps_are_known(tmp_path):
    np.savez(tmp_path / "fid.npz", mu=np.zeros(3, np.float32), sigma=np.eye(3))
    moments, provenance = read_npz(tmp_path / "fid.npz", MADE)
    assert moments.n == 0
    assert moments.mean.dtype == torch.float64
    assert provenance.unknown == list(asdict(MADE))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_real", 50_000), ("extractor", "inception"), ("extractor_hash", "ba9876543210"), ("data", "beef"),
        ("split", "train"), ("preprocessing", "another resize"),
    ],
)  # fmt: skip
def test_a_mismatch_is_refused_with_the_field(tmp_path, field, value):
    write_npz(tmp_path / "ref.npz", MOMENTS, MADE)
    with pytest.raises(UserError, match=f"ref.npz was made with {field}={getattr(MADE, field)}, not {value}"):
        read_npz(tmp_path / "ref.npz", replace(MADE, **{field: value}))


def test_files_without_statistics_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("<html>404</html>")
    np.savez(tmp_path / "other.npz", mu=np.zeros(3))
    np.savez(tmp_path / "shape.npz", mu=np.zeros(3), sigma=np.eye(4))
    np.savez(tmp_path / "nan.npz", mu=np.full(3, np.nan), sigma=np.eye(3))
    np.savez(tmp_path / "pickle.npz", mu=np.array([object()]), sigma=np.eye(1))
    np.savez(tmp_path / "alien.npz", mu=np.zeros(3), sigma=np.eye(3), provenance=np.array('{"planet": "Mars"}'))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("text", "other", "shape", "nan", "pickle", "alien", "missing"):
        with pytest.raises(UserError, match=f"{name}.npz"):
            read_npz(tmp_path / f"{name}.npz")
    with pytest.raises(UserError, match="array.npy"):
        read_npz(tmp_path / "array.npy")


def random_images(n, seed):
    draws = torch.Generator().manual_seed(seed)
    return Images(torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=draws), torch.full((n,), -1))


def suite_against(tmp_path, file):
    train, heldout = random_images(40, 0), random_images(30, 1)
    suite = Suite(SmallExtractor(), [FrechetDistance()], 20)
    suite.prepare(train, heldout, tmp_path / "cache", split="heldout", file=file)
    suite.update(range(20), random_images(20, 2).images)
    suite.compute()
    (record,) = suite.records(weights="ema", sampler="DDIM", steps=5, guidance=1.0).values()
    return suite, record


def test_an_evaluation_against_a_file_is_one_against_the_images(tmp_path):
    suite, plain = suite_against(tmp_path, None)
    suite.real.write(tmp_path / "ref.npz")
    _, record = suite_against(tmp_path, tmp_path / "ref.npz")
    assert record == plain
    assert (record.n_real, record.reference, record.notes) == (30, "heldout", [])


def test_an_evaluation_against_a_foreign_file_notes_its_gaps(tmp_path):
    suite, plain = suite_against(tmp_path, None)
    moments, _ = suite.real.moments()
    np.savez(tmp_path / "fid.npz", mu=moments.mean, sigma=moments.covariance)
    _, record = suite_against(tmp_path, tmp_path / "fid.npz")
    assert record.value == plain.value
    assert (record.n_real, record.reference, record.data) == (None, None, None)
    assert "does not say its n_real, extractor, extractor_hash, data, split" in record.notes[0]


def test_a_file_of_other_images_or_of_another_width_is_refused(tmp_path):
    train, heldout = random_images(40, 0), random_images(30, 1)
    Reference(SmallExtractor(), train, heldout, tmp_path, split="train").write(tmp_path / "train.npz")
    with pytest.raises(UserError, match="n_real=40, not 30"):
        suite_against(tmp_path, tmp_path / "train.npz")
    np.savez(tmp_path / "wide.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    with pytest.raises(UserError, match="wide.npz has 2048 features, small 12"):
        suite_against(tmp_path, tmp_path / "wide.npz")
    with pytest.raises(UserError, match="reference=test must be train or heldout"):
        Reference(SmallExtractor(), train, heldout, tmp_path, split="test")
