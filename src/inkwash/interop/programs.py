"""format=onnx and format=torch_export: a network, and a whole sampler at fixed steps, for programs without Inkwash.

OUT/network.onnx   (x, time[, y]) -> output             or network.pt2
OUT/sampler.onnx   (noise[, labels][, noises]) -> images, or latents     or sampler.pt2

The files hold what their inputs mean as metadata (contract.py), README.md tells it to people. Each is read again and
compared with what it was made from before the folder is there.
"""

import contextlib
import functools
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inkwash.config.instantiate import build
from inkwash.errors import UserError
from inkwash.guidance_scale import guided
from inkwash.interop import card
from inkwash.interop.contract import network_contract, sampler_contract
from inkwash.interop.graphs import Inputs, SamplerGraph, batch_axes, network_inputs, sampler_inputs, traced
from inkwash.interop.output import Options, new, whole
from inkwash.run import Run, load_run

# Largest difference of a file's output from the network's or the sampler's, for outputs of about 1: programs add up in
# other orders, and a sampler's steps carry that on.
TOLERANCE = 1e-3
TRIED = 3  # images that a file is compared on


class ProgramFormat(ABC):
    """A kind of file for a traced module."""

    name: str  # of format=
    suffix: str

    @abstractmethod
    def check(self) -> None:
        """Raise UserError if a package is missing."""

    @abstractmethod
    def write(self, program: Any, path: Path, contract: dict[str, str]) -> None:
        """Write an ExportedProgram with its contract as metadata."""

    @abstractmethod
    def read(self, path: Path) -> Callable[[Inputs], Tensor]:
        """Return the function in a file."""


class TorchExport(ProgramFormat):
    """Files of torch.export.save, for torch.export.load."""

    name, suffix = "torch_export", ".pt2"

    def check(self) -> None:
        """Do nothing: torch is here."""

    def write(self, program: Any, path: Path, contract: dict[str, str]) -> None:
        torch.export.save(program, path, extra_files={"contract.json": json.dumps(contract, indent=2)})

    def read(self, path: Path) -> Callable[[Inputs], Tensor]:
        module = torch.export.load(path).module()
        return lambda inputs: module(**inputs)


class Onnx(ProgramFormat):
    """ONNX files, by torch's exporter of traced programs."""

    name, suffix = "onnx", ".onnx"
    LARGEST = 1_800_000_000  # bytes of weights in the file itself, whose format ends at 2 GB; more go beside it

    def check(self) -> None:
        try:
            import onnx  # noqa: F401  # pyright: ignore[reportMissingImports]
            import onnxruntime  # noqa: F401  # pyright: ignore[reportMissingImports]
            import onnxscript  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise UserError(f"format=onnx needs the package {error.name}: pip install 'inkwash[onnx]'") from error

    def write(self, program: Any, path: Path, contract: dict[str, str]) -> None:
        size = sum(value.nbytes for value in program.state_dict.values())
        names = batch_axes(program.graph_signature.user_inputs) if program.range_constraints else {}
        shapes = {name: {axis: "batch"} for name, axis in names.items()} or None
        with _quiet():
            written: Any = torch.onnx.export(
                program, dynamo=True, verbose=False, output_names=[contract["result"]], dynamic_shapes=shapes
            )
        written.model.metadata_props.update(contract)
        written.save(path, external_data=size > self.LARGEST)

    def read(self, path: Path) -> Callable[[Inputs], Tensor]:
        import onnxruntime  # pyright: ignore[reportMissingImports]

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda inputs: torch.from_numpy(
            session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says of its own rewriting; what it cannot do, it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@dataclass
class _Part:
    """A file of the folder: the module, some inputs of n images, what they should give, and the contract."""

    name: str
    module: nn.Module
    inputs: Callable[[int], Inputs]
    expected: Callable[[Inputs], Tensor]
    contract: dict[str, str]


def export_program(
    kind: ProgramFormat,
    run_directory: str | Path,
    out: str | Path,
    weights: str = "ema",
    checkpoint: str = "last.ckpt",
    options: Options = Options(),  # noqa: B008 - cannot be changed
) -> Path:
    """Write a folder with the files of the network and of the whole sampler, and README.md.

    Raises:
        UserError: a package is missing, or the sampler cannot be written.
    """
    kind.check()
    if options.batch is not None and options.batch < 1:
        raise UserError(f"batch={options.batch} must be at least 1, or null for any number of images")
    run, out = load_run(run_directory, checkpoint, weights), new(out)
    if run.denoiser.two_times:
        raise UserError(
            "model.two_times=true: the network is told where each step ends, for which these files have no place: use "
            "format=safetensors"
        )
    parts = [_network(run, options), _sampler(run, options)]
    with whole(out) as folder:
        for part in parts:
            path = folder / f"{part.name}{kind.suffix}"
            # Traced with two images, for sizes 0 and 1 are taken for constants.
            kind.write(traced(part.module, part.inputs(options.batch or 2), options.batch), path, part.contract)
            _compare(part, kind.read(path), path.name, options.batch)
        about = card.About(
            run, Path(run_directory), kind.name, weights, checkpoint, {p.name: p.contract for p in parts}
        )
        card.write(folder, about, options)
    return out


export_onnx = functools.partial(export_program, Onnx())
export_torch = functools.partial(export_program, TorchExport())


def _network(run: Run, options: Options) -> _Part:
    net: Any = run.denoiser.net
    return _Part(
        "network",
        net,
        lambda n: network_inputs(run.network_shape, run.num_classes, n),
        lambda inputs: net(**inputs),
        network_contract(run, options.batch),
    )


def _sampler(run: Run, options: Options) -> _Part:
    sampler, scale = build(options.sampler or run.config["sampler"]), run.scale(options.guidance)
    run.check_sampler(sampler)
    graph = SamplerGraph(run.denoiser, sampler, scale)

    def expected(inputs: Inputs) -> Tensor:
        noises = iter([inputs["noise"], *inputs.get("noises", [])])
        # What a sampler draws in vain, in its last step for example, is not among the inputs.
        return sampler(
            guided(run.denoiser, scale), lambda: next(noises, torch.zeros_like(inputs["noise"])), inputs.get("labels")
        )

    def inputs(n: int) -> Inputs:
        return sampler_inputs(graph, run.network_shape, run.num_classes, n)

    tried = inputs(TRIED)
    difference = _difference(graph(**tried), expected(tried))
    if not difference < TOLERANCE:
        raise UserError(
            f"sampler: {type(sampler).__name__} cannot be written to a file, for its steps are no fixed sums of images "
            f"(the images would differ by {difference:.2g}): choose another, sampler=ddim for one"
        )
    contract = sampler_contract(run, sampler, graph.num_noises, scale, options.batch)
    return _Part("sampler", graph, inputs, expected, contract)


def _compare(part: _Part, function: Callable[[Inputs], Tensor], name: str, batch: int | None) -> None:
    """Raise RuntimeError if a file gives something else than what it was made from."""
    inputs = part.inputs(batch or TRIED)
    with torch.no_grad():
        difference = _difference(function(inputs), part.expected(inputs))
    if not difference < TOLERANCE:
        raise RuntimeError(f"{name} differs by {difference:.2g} from what it was exported from")


def _difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, for values beyond 1 in relation to the largest of them."""
    if found.shape != expected.shape:
        return torch.inf
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
