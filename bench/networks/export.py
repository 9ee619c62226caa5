"""From a network of the catalogue to ONNX files whose weights lie in one shared file of random numbers.

The graph is what the exporter of torch makes; every large weight then points somewhere into `weights.bin`, so
that a network costs kilobytes and two weights of one network still differ. Times do not depend on the values.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from .catalogue import BATCH, Network, Times, sized

POOL = "weights.bin"
POOL_BYTES = 448 << 20  # the largest weight, of VGG's first dense layer, takes 411 MB
PAGE = 4096
INLINE_BYTES = 16 << 10


def ensure_pool(folder: Path) -> None:
    path = folder / POOL
    if path.exists() and path.stat().st_size == POOL_BYTES:
        return
    partial = folder / f"{POOL}.{os.getpid()}"
    values = np.random.default_rng(0).random(POOL_BYTES // 4, dtype=np.float32)
    ((values - 0.5) * 0.04).tofile(partial)
    os.replace(partial, path)


def use_pool(model: onnx.ModelProto) -> None:
    """Points every large weight into the pool, each a page further than the last."""
    offset = 0
    for tensor in model.graph.initializer:
        size = 4 * int(np.prod(list(tensor.dims), dtype=np.int64))
        if tensor.data_type != TensorProto.FLOAT or size < INLINE_BYTES:
            continue
        for field in ("raw_data", "float_data", "external_data"):
            tensor.ClearField(field)
        tensor.data_location = TensorProto.EXTERNAL
        start = offset % ((POOL_BYTES - size) // PAGE + 1)
        for key, value in (("location", POOL), ("offset", start * PAGE), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        offset += 1


def example(network: Network, batch: int, shapes=()):
    import torch

    generator = torch.Generator().manual_seed(0)
    made = []
    for n, i in enumerate(network.inputs):
        shape = sized(shapes[n] if shapes else i.shape, batch)
        if i.dtype.startswith("int"):
            made.append(torch.randint(0, i.high, shape, generator=generator, dtype=getattr(torch, i.dtype)))
        else:
            made.append(torch.rand(shape, generator=generator))
    return tuple(made)


def open_axes(network: Network, n: int) -> dict[int, str]:
    """The batch, and what the trace has smaller; `settle` gives the latter its size."""
    shape = network.inputs[n].shape
    found = {a: BATCH for a, d in enumerate(shape) if network.dynamic and (d == BATCH or isinstance(d, Times))}
    if network.small:
        found |= {a: f"size{n}_{a}" for a, d in enumerate(shape) if network.small[n][a] != d}
    return found


def settle(model: onnx.ModelProto, network: Network) -> None:
    for value, given in zip(model.graph.input, network.inputs):
        for dim, size in zip(value.type.tensor_type.shape.dim, given.shape):
            if dim.dim_param.startswith("size"):
                dim.dim_value = size
    if network.small:
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")


@contextlib.contextmanager
def quick_weights():
    """Large weights start as a constant instead of drawn: they go to the pool anyway, and drawing takes minutes.

    Each its own constant: the exporter would make one of two that are equal.
    """
    import torch

    step = itertools.count(1)

    names = ("uniform_", "normal_", "erfinv_")
    drawn = {name: getattr(torch.Tensor, name) for name in names}

    def quick(name):
        def fill(tensor, *args, **rest):
            if 4 * tensor.numel() < INLINE_BYTES:
                return drawn[name](tensor, *args, **rest)
            return tensor.fill_(0.01 + 1e-6 * next(step))

        return fill

    for name in names:
        setattr(torch.Tensor, name, quick(name))
    try:
        yield
    finally:
        for name in names:
            setattr(torch.Tensor, name, drawn[name])


def trace(network: Network, batch: int, path: str) -> None:
    import torch

    from . import symbolic

    symbolic.register()
    torch.manual_seed(0)
    with quick_weights():
        module = network.make().eval()
    names = [i.name for i in network.inputs]
    axes = {i.name: open_axes(network, n) for n, i in enumerate(network.inputs)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example(network, batch, network.small),
            path,
            opset_version=network.opset,
            input_names=names,
            dynamic_axes={n: a for n, a in axes.items() if a},
            do_constant_folding=True,
        )


def traced(network: Network, batch: int, folder: Path) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = os.path.join(scratch, "model.onnx")
        trace(network, batch, path)
        model = onnx.load(path)
    settle(model, network)
    use_pool(model)
    return model


def build(network: Network, batch: int, folder: Path) -> onnx.ModelProto:
    """Writes the file and returns the model, its weights left in the pool."""
    ensure_pool(folder)
    if network.onnx_graph:
        model = network.make(batch)
        use_pool(model)
    else:
        # Where a reshape takes the one sample of the trace for a constant, check.py finds it at another batch.
        model = traced(network, 1 if network.dynamic else batch, folder)
    model.doc_string = f"{network.name}: random weights, for predictions of time only"
    partial = folder / f"{network.file(batch)}.{os.getpid()}"
    partial.write_bytes(model.SerializeToString())
    os.replace(partial, folder / network.file(batch))
    return model
