"""What a network is here: a name, how its torch module is made, its inputs, what is published about it.

The family files (cnn.py, detection.py, ...) fill NETWORKS by calling `add`. Making a module needs torch and
friends, so `make` imports them when it is called: listing names and mapping rows needs none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Input:
    name: str
    shape: tuple  # BATCH (or a multiple of it, as Times) and integers
    dtype: str = "float32"
    high: int = 2  # integer inputs are drawn below this


BATCH = "batch"


@dataclass(frozen=True)
class Times:
    """A size that is so many times the batch: clips of a video that the network sees as images."""

    factor: int


@dataclass(frozen=True)
class Network:
    name: str
    make: Callable  # () -> torch.nn.Module, or (batch) -> onnx.ModelProto where `onnx_graph`
    inputs: tuple[Input, ...]
    group: str  # networks of one group stand or fall together when some are held out
    gmacs: float | None = None  # published multiply-adds of one sample, in 1e9
    dynamic: bool = True  # one file with an open batch; else one file per batch
    onnx_graph: bool = False
    opset: int = 13
    note: str = ""
    batches: tuple[int, ...] = (1,)  # which files are built where the batch is fixed
    small: tuple[tuple, ...] = ()  # smaller input shapes to trace with, where the module computes no size from them

    def file(self, batch: int) -> str:
        return f"{self.name}.onnx" if self.dynamic else f"{self.name}_b{batch}.onnx"

    def files(self) -> list[tuple[str, int]]:
        return [(self.file(b), b) for b in ((1,) if self.dynamic else self.batches)]

    def shapes(self, batch: int) -> dict[str, list[int]]:
        return {i.name: sized(i.shape, batch) for i in self.inputs}


NETWORKS: dict[str, Network] = {}


def sized(shape, batch: int) -> list[int]:
    values = {BATCH: batch}
    return [d.factor * batch if isinstance(d, Times) else values.get(d, d) for d in shape]


def add(name: str, make: Callable, *inputs, group: str | None = None, **rest) -> None:
    """Inputs are Input objects, or shapes of images or features without the batch."""
    assert name not in NETWORKS, name
    described = tuple(
        i if isinstance(i, Input) else Input("input" if len(inputs) == 1 else f"input{n}", (BATCH, *i))
        for n, i in enumerate(inputs)
    )
    NETWORKS[name] = Network(name, make, described, group or name, **rest)


def tokens(name: str, length: int, vocabulary: int) -> Input:
    return Input(name, (BATCH, length), "int64", vocabulary)


def all_networks() -> dict[str, Network]:
    from . import families  # noqa: F401  (fills NETWORKS)

    return NETWORKS
