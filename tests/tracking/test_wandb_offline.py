"""Offline records of W&B."""

from inkwash.tracking.wandb_offline import records, sync_command


def test_uploaded_records_are_left_out(tmp_path):
    for name in ("offline-run-20260101_000000-abc", "offline-run-20260102_000000-abc"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / "run-abc.wandb").touch()
    assert [record.name[-10:-4] for record in records(tmp_path)] == ["000000", "000000"]
    (tmp_path / "wandb/offline-run-20260101_000000-abc/run-abc.wandb.synced").touch()
    assert sync_command(tmp_path) == f"wandb sync {tmp_path}/wandb/offline-run-20260102_000000-abc"
