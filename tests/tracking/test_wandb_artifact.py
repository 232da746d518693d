"""Checkpoints that a run has sent to W&B."""

import shutil

import pytest

from inkwash.errors import UserError
from inkwash.jobs.train import train
from inkwash.run import load_run
from inkwash.runs.directory import RunDirectory
from inkwash.tracking.wandb_artifact import checkpoint_artifact, download
from support.autoencoders import save_kl
from support.training import NO_METRIC


@pytest.mark.parametrize("name", ["x", "me/digits", "me/digits/model", "me/digits/model:", "a/b/c/d:best"])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError, match=r"must be wandb:ENTITY/PROJECT/ARTIFACT:ALIAS"):
        download(name)


def test_without_a_key_or_a_server_it_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match="needs an API key: run `wandb login`"):
        download("me/digits/model:best")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 cannot be reached"):
        download("me/digits/model:best")


def test_the_artifact_of_a_run_on_latents_draws_where_nothing_else_is(quick_run, tmp_path, monkeypatch):
    """It holds the autoencoder, and of run.json only what no other start of the same training changes."""
    pytest.importorskip("diffusers")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    save_kl(tmp_path / "vae")
    run = RunDirectory(quick_run("run", "autoencoder=kl", f"autoencoder.path={tmp_path / 'vae'}", NO_METRIC))
    train(run.path)
    artifact = checkpoint_artifact(run, "last.ckpt")
    for name, entry in artifact.manifest.entries.items():
        target = tmp_path / "unpacked" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.local_path, target)
    want = load_run(run).sample(2, guidance=1.0)
    shutil.rmtree(tmp_path / "vae")
    shutil.rmtree(run.autoencoder)
    assert load_run(tmp_path / "unpacked").sample(2, guidance=1.0).equal(want)
    record = RunDirectory(tmp_path / "unpacked").record
    assert (record["id"], record["data"]) == (run.record["id"], run.record["data"])
    assert "command" not in record
    run.write_record({**run.record, "command": "inkwash train again", "commit": "1" * 40})
    shutil.copytree(tmp_path / "unpacked" / "autoencoder", run.autoencoder)
    assert checkpoint_artifact(run, "last.ckpt").digest == artifact.digest
    run.record_path.unlink()
    assert checkpoint_artifact(run, "last.ckpt").name == "checkpoint-run"
