"""data.num_workers=auto: as many readers as keep up with the training, and the same batches for any number."""

import logging

import pytest
import torch
from tests.data.test_image_data_module import Memory, fit, same

from inkwash.data.module import ImageDataModule
from inkwash.data.parquet_stream import ParquetStream
from inkwash.data.reader_count import Pace, readers_for
from inkwash.errors import UserError
from inkwash.jobs.train import keep_up
from inkwash.runs.directory import RunDirectory

SHAPE = [3, 6, 5]


@pytest.fixture
def streamed(write_parquet, noise, tmp_path):
    """streamed(**options): a data module of 60 images in blocks of 4."""
    path = write_parquet(tmp_path / "0.parquet", list(noise(60, 6, 5, 3)), range(60), row_group_size=4)
    source = ParquetStream(cache_dir=str(tmp_path / "cache"), heldout_fraction=0)
    return lambda **options: ImageDataModule(source, SHAPE, None, batch_size=16, path=str(path), **options)


@pytest.mark.parametrize(
    ("step_ms", "cores", "count"),
    [
        (100, 16, 3),  # 100 images take 200 ms, with a quarter more 250
        (250, 16, 1),
        (249, 16, 2),
        (1000, 16, 1),
        (20, 16, 13),
        (20, 9, 8),  # one core stays with the training
        (20, 1, 1),
        (None, 16, 2),
        (None, 2, 1),
    ],
)
def test_readers_keep_up_with_a_step(step_ms, cores, count):
    pace = Pace(None if step_ms is None else step_ms / 1000, cores)
    assert readers_for(pace, image_seconds=0.002, images=100) == count


def test_the_log_says_what_was_measured_and_what_is_missing(caplog):
    caplog.set_level(logging.INFO, "inkwash")
    readers_for(Pace(0.1, 16), 0.002, 100)
    readers_for(Pace(0.02, 9), 0.002, 100)
    assert caplog.messages == [
        "readers      3: 100 images take one of them 200 ms, and a step 100 ms",
        "readers      8: 100 images take one of them 200 ms, and a step 20 ms; 13 would keep up, of 9 cores",
    ]


def test_an_image_takes_its_decoding_and_its_share_of_the_block(streamed, monkeypatch):
    """A block of 4 images is read in 80 ms, and an image decoded in 10: 30 ms each."""
    images, clock = streamed().train, [0.0]
    read, decode = images.shards.read, images._decode

    def taking(seconds, function):
        def slow(*given):
            clock[0] += seconds
            return function(*given)

        return slow

    monkeypatch.setattr("inkwash.data.stream.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(images.shards, "read", taking(0.08, read))
    monkeypatch.setattr(images, "_decode", taking(0.01, decode))
    for count in (2, 3, 100):
        assert images.seconds_per_image(count) == pytest.approx(0.03)
        assert not images._blocks  # readers begin with nothing


@pytest.mark.parametrize(("step_seconds", "readers"), [(1e-9, 2), (10.0, 1)])
def test_batches_are_the_same_for_any_number_of_readers(streamed, tmp_path, step_seconds, readers):
    data = streamed(num_workers="auto")
    data.pace = Pace(step_seconds, cores=3)
    trainer, batches = fit(5, tmp_path, data=data)
    assert trainer.train_dataloader.num_workers == readers
    assert same(batches, fit(5, tmp_path, data=streamed(num_workers=0))[1])


def test_images_in_memory_need_no_readers(noise, tmp_path):
    data = ImageDataModule(Memory(noise(8, 1, 2, 3), [0] * 8), [1, 2, 3], None, batch_size=8, num_workers="auto")
    data.pace = Pace(1e-9, 8)
    assert fit(1, tmp_path, data=data)[0].train_dataloader.num_workers == 0


def test_a_resumed_run_keeps_up_with_the_step_it_began_with(streamed, tmp_path):
    run, first, resumed = RunDirectory(tmp_path), streamed(), streamed()
    run.write_record({"id": "abc"})
    keep_up(first, run, 0.25)
    keep_up(resumed, run, None)
    assert first.pace.step_seconds == resumed.pace.step_seconds == 0.25
    assert run.record == {"id": "abc", "step_seconds": 0.25, "step_timed_on": "1 x cpu"}


def test_the_step_of_other_devices_says_nothing(streamed, tmp_path, monkeypatch):
    run, resumed = RunDirectory(tmp_path), streamed()
    run.write_record({"id": "abc", "step_seconds": 0.25, "step_timed_on": "1 x cpu"})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    keep_up(resumed, run, None, "cuda")
    assert resumed.pace.step_seconds is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    keep_up(resumed, run, None, "cpu")
    assert resumed.pace.step_seconds is None


@pytest.mark.parametrize("wrong", [-1, "many"])
def test_a_wrong_number_is_told(streamed, wrong):
    with pytest.raises(
        UserError, match=f"^data.num_workers={wrong} must be auto, or a number of processes, 0 or more$"
    ):
        streamed(num_workers=wrong)
