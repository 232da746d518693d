"""Which folder a path means, and the shape of latents, without torch."""

import json

import pytest

from inkwash.autoencoders.files import CONFIG, WEIGHTS, find_files, keep, shape_of_latents
from inkwash.config.shapes import network_shape
from inkwash.errors import UserError


def write(folder, blocks=4, channels=4, name="AutoencoderKL"):
    folder.mkdir(parents=True)
    config = {"_class_name": name, "block_out_channels": [64] * blocks, "latent_channels": channels}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_folder_a_run_and_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own")
    write(tmp_path / "runs" / "digits" / "autoencoder")
    write(tmp_path / "pipeline" / "vae")
    write(tmp_path / "pipeline" / "unet", name="UNet2DModel")
    assert find_files(str(tmp_path / "own")) == tmp_path / "own"
    assert find_files("digits").resolve() == tmp_path / "runs" / "digits" / "autoencoder"
    assert find_files("runs/digits").resolve() == tmp_path / "runs" / "digits" / "autoencoder"
    assert find_files("pipeline").resolve() == tmp_path / "pipeline" / "vae"


def test_shape_of_stable_diffusions_latents(tmp_path):
    write(tmp_path / "sd")
    assert shape_of_latents(str(tmp_path / "sd"), [3, 512, 256]) == [4, 64, 32]
    with pytest.raises(UserError, match=r"data.shape=\[3, 100, 96\].*multiples of 8"):
        shape_of_latents(str(tmp_path / "sd"), [3, 100, 96])


@pytest.mark.parametrize(("path", "reason"), [("nowhere", "does not exist"), (".", "holds no autoencoder")])
def test_paths_without_an_autoencoder(path, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"autoencoder.path={path} {reason}"):
        find_files(path)


def test_a_name_of_the_hub_offline(monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="autoencoder.path=some/where is no folder here, and .* cannot be reach"):
        find_files("some/where")


def test_the_network_sees_latents_or_images(tmp_path, compose_config):
    write(tmp_path / "ae", blocks=2, channels=3)
    latent = compose_config("autoencoder=kl", f"autoencoder.path={tmp_path / 'ae'}", "schedule=cosine_shifted")
    assert (latent["model"]["shape"], latent["schedule"]["image_size"]) == ([3, 4, 4], 4)
    assert network_shape(latent) == (3, 4, 4)
    pixels = compose_config()
    assert pixels["autoencoder"] is None
    assert network_shape(pixels) == (1, 8, 8) == tuple(pixels["model"]["shape"])
    old = {key: value for key, value in pixels.items() if key != "autoencoder"}
    assert network_shape(old) == (1, 8, 8)
    with pytest.raises(UserError, match=r"^data.shape=\[1, 9, 9\].*multiples of 2"):
        compose_config("autoencoder=kl", f"autoencoder.path={tmp_path / 'ae'}", "data.shape=[1,9,9]")


def test_a_run_keeps_what_is_written_over_elsewhere(tmp_path):
    """A copy of a user's files, which `cp` writes over; links to a run's and to those of the hub's cache."""
    blobs, snapshot = tmp_path / "models--me--kl" / "blobs", tmp_path / "models--me--kl" / "snapshots" / "abc"
    run = tmp_path / "runs" / "digits"
    for folder in (tmp_path / "own", run / "autoencoder", blobs, tmp_path / "pipeline" / "autoencoder"):
        write(folder)
        (folder / WEIGHTS).write_text("weights")
    (run / "config.yaml").touch()
    snapshot.mkdir(parents=True)
    for name in (CONFIG, WEIGHTS):
        (snapshot / name).symlink_to(blobs / name)
    copied, linked = (tmp_path / "own", tmp_path / "pipeline", blobs), (run, snapshot)
    for path in (*copied, *linked):
        kept = tmp_path / f"kept-{path.name}"
        keep(str(path), kept)
        assert (kept / WEIGHTS).read_text() == "weights"
        assert (kept / WEIGHTS).samefile(find_files(str(path)) / WEIGHTS) is (path in linked), path
        assert not (kept / WEIGHTS).is_symlink()
    (tmp_path / "own" / WEIGHTS).write_text("others")
    assert (tmp_path / "kept-own" / WEIGHTS).read_text() == "weights"
