"""`import magicmind.python.runtime as mm`: Runner and HostBuffer under the names known from MagicMind.

    runner = mm.Runner(deserialize_file="model.cambricon")
    results = runner.infer([mm.HostBuffer(input_data)])
    results[0].asnumpy().shape
"""
import os
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np

import tenon

__all__ = ["HostBuffer", "Runner"]


class HostBuffer:
    """An array in the host's memory; NumPy arrays are not copied."""

    def __init__(self, data: Any, name: Optional[str] = None) -> None:
        self._data: Any = data if isinstance(data, list) else np.asarray(data)
        self.name = name

    def asnumpy(self) -> Any:
        """The array; a list of arrays for a list."""
        return self._data

    @property
    def shape(self) -> tuple[int, ...]:
        return np.shape(self._data)

    @property
    def dtype(self) -> np.dtype:
        return np.asarray(self._data).dtype

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"HostBuffer({self._data!r})"


class Runner:
    """A compiled model, loaded from a file or from bytes."""

    def __init__(self, deserialize_file: Union[str, "os.PathLike[str]", None] = None, *,
                 deserialize_memory: Optional[bytes] = None, threads: Optional[int] = None) -> None:
        source = deserialize_file if deserialize_file is not None else deserialize_memory
        if source is None:
            raise tenon.Error("give deserialize_file=PATH or deserialize_memory=BYTES",
                              "invalid_argument")
        self._runner = tenon.Runner(source, threads=threads)

    @property
    def input_names(self) -> list[str]:
        return [port.name for port in self._runner.inputs]

    @property
    def output_names(self) -> list[str]:
        return [port.name for port in self._runner.outputs]

    def infer(self, inputs: Sequence[Any]) -> list[HostBuffer]:
        """Runs on buffers (or arrays) in the order of the model's inputs; gives every output in order."""
        arrays = [item.asnumpy() if isinstance(item, HostBuffer) else item for item in inputs]
        outputs = self._runner.run(*arrays)
        return [HostBuffer(array, name) for name, array in outputs.items()]
