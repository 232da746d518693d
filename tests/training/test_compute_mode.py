"""Test how precision, memory format and threads are chosen by timing, and that nothing else of a run changes by it."""

import copy
import math
import os
import random
from dataclasses import replace

import pytest
import torch

from inkwash.errors import UserError
from inkwash.jobs.train import train
from inkwash.random import Draws, generator
from inkwash.run import load_run
from inkwash.training import compute_mode, mode_choice, mode_timing, threads
from inkwash.training.build import build_module
from inkwash.training.compute_mode import ComputeMode
from inkwash.training.mode_choice import choose, pick
from inkwash.training.mode_timing import Trial, measure
from support.training import NO_METRIC, weights

CPU = torch.device("cpu")
PLAIN = ComputeMode("cpu", "32-true", "contiguous", 2)
CHANNELS_LAST = ComputeMode("cpu", "32-true", "channels_last", 2)
BF16 = ComputeMode("cpu", "bf16-mixed", "contiguous", 2)
ALONE = ComputeMode("cpu", "32-true", "contiguous", 1)


# --- Which mode is taken ----------------------------------------------------------------------------------------------


class Clock:
    """A trial whose passes take given times, a list of them or always the same one."""

    def __init__(self, times):
        self.times = {mode: list(t) if isinstance(t, list) else t for mode, t in times.items()}
        self.calls = []

    def seconds(self, mode):
        self.calls.append(mode)
        times = self.times[mode]
        return times.pop(0) if isinstance(times, list) else times


def test_modes_are_timed_by_turns_and_medians_compared():
    clock = Clock({PLAIN: [9.0, 1.0, 1.0, 5.0, 1.1], CHANNELS_LAST: [9.0, 1.0, 0.8, 0.9, 7.0]})
    assert measure(clock, [PLAIN, CHANNELS_LAST], 26.0) == {PLAIN: 1.1, CHANNELS_LAST: 0.9}
    assert clock.calls == 5 * [PLAIN, CHANNELS_LAST]


def test_a_mode_that_is_far_behind_is_not_timed_again():
    clock = Clock({PLAIN: 1.0, BF16: 4.0})
    assert measure(clock, [PLAIN, BF16], 100.0) == {PLAIN: 1.0, BF16: 4.0}
    assert clock.calls.count(BF16) == 2


def test_a_mode_that_a_network_cannot_compute_in_costs_nothing():
    clock = Clock({PLAIN: 1.0, BF16: math.inf})
    assert measure(clock, [PLAIN, BF16], 100.0) == {PLAIN: 1.0, BF16: math.inf}
    assert clock.calls.count(PLAIN) == 2 + mode_timing.ROUNDS


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({PLAIN: 1.0, CHANNELS_LAST: 0.985}, PLAIN),  # less than timing is sure of
        ({PLAIN: 1.0, CHANNELS_LAST: 0.97}, CHANNELS_LAST),
        ({PLAIN: 1.0, BF16: 0.96}, PLAIN),  # not worth its bits
        ({PLAIN: 1.0, CHANNELS_LAST: 0.97, BF16: 0.96}, CHANNELS_LAST),
        ({PLAIN: 1.0, BF16: 0.94}, BF16),
        ({PLAIN: 1.0, CHANNELS_LAST: 0.94, BF16: 0.5}, BF16),
        ({PLAIN: 1.0, BF16: 1.5}, PLAIN),
        ({PLAIN: 1.0, ALONE: 0.9}, PLAIN),
        ({PLAIN: 1.0, ALONE: 0.7}, ALONE),
        ({PLAIN: 1.0, BF16: math.inf}, PLAIN),
    ],
)
def test_the_simplest_mode_is_replaced_by_one_that_is_clearly_faster(times, best):
    assert pick(PLAIN, times) == best


# --- What a machine has -----------------------------------------------------------------------------------------------


def test_threads_are_those_of_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: None)
    assert threads.cores() == 8
    monkeypatch.setattr(threads, "cgroup_quota", lambda: 2.5)
    assert threads.cores() == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as torchrun sets OMP_NUM_THREADS
    assert (threads.cores(), threads.usable_cores()) == (1, 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    trainer = {"precision": "auto", "memory_format": "auto", "threads": None}
    assert compute_mode.simplest(trainer, CPU, processes=2).threads == 1
    assert compute_mode.simplest({**trainer, "threads": 5}, CPU, processes=2).threads == 5


@pytest.mark.parametrize(
    ("files", "group", "quota"),
    [
        ({"cpu.max": "200000 100000\n"}, "0::/", 2.0),
        ({"cpu.max": "max 100000\n"}, "0::/", None),
        ({"user/job/cpu.max": "max 100000", "user/cpu.max": "150000 100000"}, "0::/user/job", 1.5),  # an ancestor's
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/docker/abc", 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", None),
        ({"cpu.max": "nonsense"}, "0::/", None),
        ({}, "0::/", None),
    ],
)
def test_the_quota_of_a_container_is_read(tmp_path, files, group, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "of").write_text(f"1:name=x:/other\n{group}\n")
    assert threads.cgroup_quota(tmp_path, tmp_path / "of") == quota


def test_one_thread_draws_on_a_busy_machine(monkeypatch, caplog):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "is_busy", lambda: True)
    before = torch.get_num_threads()
    try:
        times = {1: 0.1, 2: 0.9}
        monkeypatch.setattr(threads, "_seconds_of_convolutions", lambda: times[torch.get_num_threads()])
        threads.set_threads_to_draw(None, 1)
        assert torch.get_num_threads() == 1
        assert "1 of 2, 9 times faster on this busy machine" in caplog.text
        times[2] = 0.15  # not worth other results in the last digit
        threads.set_threads_to_draw(None, 1)
        assert torch.get_num_threads() == 2
        times[2] = 0.9
        threads.set_threads_to_draw(2, 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- The choice of a training -----------------------------------------------------------------------------------------


@pytest.fixture
def timed(monkeypatch):
    """timed(seconds): a pass takes seconds(mode) from now on, in trainings of any length; returns the modes asked."""
    asked = []

    def set_to(seconds):
        monkeypatch.setattr(mode_choice, "LEAST_STEPS", 1)
        monkeypatch.setattr(Trial, "seconds", lambda self, mode: asked.append(mode) or seconds(mode))
        return asked

    return set_to


def contiguous_first(mode):
    return 1.0 if mode.memory_format == "contiguous" else 1.2


def channels_last_first(mode):
    return 1.0 if mode.memory_format == "channels_last" else 1.2


@pytest.mark.slow
def test_timing_leaves_everything_as_it_was(compose_config, monkeypatch):
    """Weights, gradients, buffers, random numbers, threads; in a real trial of a small network."""
    config = compose_config("model.channels=8", "model.dropout=0.1", "data.batch_size=8", "loss=vlb")
    module = build_module(config)
    state = copy.deepcopy(module.state_dict())
    monkeypatch.setattr(compute_mode, "cores", lambda: 2)
    before = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    choice = choose(config, module, CPU, 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert torch.get_num_threads() == before[2]
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None and p.is_contiguous() for p in module.parameters())
    assert choice.mode.precision in ("32-true", "bf16-mixed")
    assert choice.mode.threads in (1, 2)
    assert " ms for a pass of " in choice.line


@pytest.mark.parametrize("overrides", [(), ("trainer.threads=1",)])
def test_what_is_asked_for_is_not_timed(compose_config, timed, overrides):
    asked = timed(channels_last_first)
    config = compose_config(
        "model.channels=8", "trainer.precision=32-true", "trainer.memory_format=contiguous", *overrides
    )
    assert choose(config, build_module(config), CPU, 1).mode == ALONE  # the suite's processes have one thread
    assert asked == []


@pytest.mark.parametrize("overrides", [("trainer.max_steps=199",), ("trainer.strategy=fsdp",)])
def test_short_and_sharded_trainings_take_the_simplest(compose_config, overrides):
    config = compose_config("model.channels=8", *overrides)
    choice = choose(config, build_module(config), CPU, 1)
    assert choice == mode_choice.Choice(ALONE)


@pytest.mark.parametrize("native", [True, False])
def test_a_compiled_training_times_precisions_alone(compose_config, timed, monkeypatch, native):
    """Before it is compiled, so that a step's time is not known; the layout is the compiler's choice."""
    asked = timed(lambda mode: {"32-true": 2.0, "bf16-mixed": 1.0}[mode.precision])
    monkeypatch.setattr(mode_choice, "bf16_is_native", lambda device: native)
    monkeypatch.setattr(mode_choice, "is_busy", lambda: False)
    monkeypatch.setattr(compute_mode, "cores", lambda: 2)
    config = compose_config("model.channels=8", "data.batch_size=2", "compile=true")
    choice = choose(config, build_module(config), CPU, 1)
    assert choice.mode == replace(PLAIN, precision="bf16-mixed" if native else "32-true")
    assert {(mode.memory_format, mode.threads) for mode in asked} <= {("contiguous", 2)}
    assert bool(asked) == native
    assert choice.step_seconds is None


def test_a_large_network_is_timed_with_fewer_images(compose_config, timed):
    """Two modes, and 128 images at 8 s a pass: three passes in each of 16 images take the 6 s that there are."""
    config = compose_config("model.channels=8", "trainer.max_steps=200")
    sizes = []
    timed(contiguous_first)

    def seconds(self, mode):
        sizes.append(len(self.x_0))
        return len(self.x_0) / 16

    Trial.seconds = seconds  # timed() puts it back
    choice = choose(config, build_module(config), CPU, 1)
    assert sizes[0] == mode_choice.FIRST_IMAGES
    assert "for a pass of 16 images" in choice.line
    assert sum(sizes) / 16 < mode_choice.MOST_SECONDS + 4  # and the passes that the number was chosen by
    assert choice.step_seconds is None  # a part of a batch does not tell the time of a whole one


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(("accumulate", "passes"), [("1", 1), ("4", 4), ("auto", None)])
def test_a_step_takes_as_long_as_its_passes(compose_config, timed, accumulate, passes):
    timed(contiguous_first)
    config = compose_config("model.channels=8", "data.batch_size=2", f"trainer.accumulate_grad_batches={accumulate}")
    choice = choose(config, build_module(config), CPU, 1)
    assert choice.step_seconds == (None if passes is None else passes * contiguous_first(choice.mode))


@pytest.mark.parametrize("key", ["memory_format=rows", "precision=32", "threads=0"])
def test_unknown_values_are_refused(compose_config, key):
    config = compose_config("model.channels=8")
    name, value = key.split("=")
    config["trainer"][name] = int(value) if name == "threads" else value
    with pytest.raises(UserError, match=f"trainer.{key} must be "):
        choose(config, build_module(config), CPU, 1)


# --- Several ranks, which must agree ----------------------------------------------------------------------------------


@pytest.fixture
def pair(compose_config, monkeypatch, timed):
    """pair(other): choose with a rank whose values are other(values); returns the choice and the modes asked."""
    asked = timed(contiguous_first)
    monkeypatch.setattr(compute_mode, "cores", lambda: 4)
    monkeypatch.setattr(mode_choice, "bf16_is_native", lambda device: True)
    config = compose_config("model.channels=8", "data.batch_size=4")

    def choice(other):
        for module in (mode_choice, mode_timing):
            monkeypatch.setattr(module, "agreed", lambda values: [*map(max, values, other(values))])
        return choose(config, build_module(config), CPU, 2, world_size=2), asked

    return choice


def test_ranks_time_the_same_modes_whatever_each_could(pair):
    """The other one has a single thread and no bfloat16: lists of other modes would never meet."""
    choice, asked = pair(lambda values: [1.0, 1.0] if len(values) == 2 and max(values) == 0 else values)
    assert choice.mode == PLAIN
    assert {(mode.precision, mode.memory_format, mode.threads) for mode in asked} == {
        ("32-true", "contiguous", 2), ("32-true", "channels_last", 2),
    }  # fmt: skip


def test_ranks_give_up_together_if_one_has_no_memory(pair):
    choice, asked = pair(lambda values: [1.0] if values == [0.0] else values)
    assert choice == mode_choice.Choice(PLAIN)
    assert asked == []
    choice, _ = pair(lambda values: [math.inf for _ in values] if max(values) > 0 else values)
    assert choice == mode_choice.Choice(PLAIN)


def test_a_pass_without_memory_takes_for_ever(compose_config, monkeypatch):
    """What one rank alone raised, the others would wait for."""
    module = build_module(compose_config("model.channels=8"))
    trial = Trial(module, (1, 8, 8), 2, CPU)

    def exhausted(*args):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trial, "loss", exhausted)
    assert trial.seconds(PLAIN) == math.inf
    assert measure(trial, [PLAIN, BF16], 1.0) == {PLAIN: math.inf, BF16: math.inf}


def test_tasks_that_srun_binds_share_no_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: None)
    trainer = {"precision": "auto", "memory_format": "auto", "threads": None}
    assert compute_mode.simplest(trainer, CPU, processes=4).threads == 2
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "32")
    assert compute_mode.simplest(trainer, CPU, processes=4).threads == 8


def test_float32_is_timed_on_a_gpu_as_it_trains(compose_config, monkeypatch):
    """With TF32, which the Trainer allows later."""
    found = []

    class Seen:
        def __init__(self, module, shape, images, device, weights):
            found.append(torch.get_float32_matmul_precision())
            raise torch.OutOfMemoryError

    monkeypatch.setattr(mode_choice, "Trial", Seen)
    for module in (mode_choice, compute_mode):
        monkeypatch.setattr(module, "bf16_is_native", lambda device: True)
    config = compose_config("model.channels=8")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        choice = choose(config, build_module(config), torch.device("cuda"), 1)
    finally:
        torch.set_float32_matmul_precision(before)
    assert found == ["high"]
    assert choice.mode.precision == "bf16-mixed"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", torch.float32), ("64-true", torch.float64), ("bf16-true", torch.bfloat16)]
)
def test_formats_are_timed_with_the_weights_that_train(compose_config, monkeypatch, precision, dtype):
    """Passes of a trial have a time, and its weights their type before Lightning gives it to them."""
    monkeypatch.setattr(mode_choice, "LEAST_STEPS", 1)
    monkeypatch.setattr(mode_choice, "SECONDS", 0.0)
    found = []
    seconds = Trial.seconds

    def watched(self, mode):
        found.append((next(self.denoiser.net.parameters()).dtype, seconds(self, mode)))
        return found[-1][1]

    monkeypatch.setattr(Trial, "seconds", watched)
    config = compose_config("model.channels=8", "data.batch_size=2", f"trainer.precision={precision}")
    choose(config, build_module(config), CPU, 1)
    assert {kind for kind, _ in found} == {dtype}
    assert all(t < math.inf for _, t in found)


STEPS = (NO_METRIC, "callbacks.checkpoint.every_n_steps=2")


@pytest.mark.slow
def test_a_resume_keeps_the_mode_bit_for_bit(quick_run, timed):
    timed(channels_last_first)
    whole, parts = quick_run("whole", *STEPS, "trainer.max_steps=4"), quick_run("parts", *STEPS, "trainer.max_steps=2")
    _, expected = train(whole)
    train(parts)
    asked = timed(contiguous_first)
    asked.clear()
    quick_run("parts", *STEPS, "trainer.max_steps=4")
    _, module = train(parts)
    assert asked == []
    assert module.compute == expected.compute
    assert module.compute["memory_format"] == "channels_last"
    assert torch.equal(weights(module.denoiser), weights(expected.denoiser))
    assert torch.equal(weights(module.ema_denoiser), weights(expected.ema_denoiser))
    kernels = [p for p in module.denoiser.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_a_run_is_drawn_in_the_mode_of_its_training(quick_run, timed):
    timed(channels_last_first)
    directory = quick_run("run", *STEPS, "trainer.max_steps=2")
    train(directory)
    run = load_run(directory)
    assert run.compute is not None
    assert run.precision(None, CPU) == "32-true"
    kernel = next(p for p in run.denoiser.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert run.precision("bf16-mixed", CPU) == "bf16-mixed"
    run.compute = ComputeMode("cuda", "bf16-mixed", "contiguous", 1)
    assert run.precision(None, CPU) == "32-true"  # trained on another device: the simplest of this one


@pytest.mark.slow
def test_a_checkpoint_from_before_goes_on_as_it_was(quick_run, timed, monkeypatch):
    directory = quick_run("run", *STEPS, "trainer.max_steps=2")
    train(directory)
    path = directory / "checkpoints" / "last.ckpt"
    stored = torch.load(path)
    del stored["compute"]
    torch.save(stored, path)
    monkeypatch.setattr(compute_mode, "bf16_is_native", lambda device: True)
    asked = timed(channels_last_first)
    quick_run("run", *STEPS, "trainer.max_steps=3")
    _, module = train(directory)
    assert asked == []
    assert module.compute["memory_format"] == "contiguous"


# --- The fast modes against the plain one -----------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [(), ("model.patch_size=2",), ("model.num_classes=null",), ("loss=vlb",)])
def test_channels_last_computes_the_same(compose_config, overrides):
    """Loss and gradient of every parameter, to a relative error of 1e-5."""
    module = build_module(compose_config("model.channels=16", *overrides)).double()
    x_0 = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = None if module.num_classes is None else torch.arange(4)
    found = []
    for mode in (PLAIN, CHANNELS_LAST):
        mode.arrange(module.denoiser)
        module.zero_grad()
        loss = module.loss(module.denoiser, x_0, y, Draws([generator("test")], CPU)).loss.mean()
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in module.denoiser.parameters() if p.grad is not None)])
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-7)
