"""compile() and check(): a trained model in, a .tenon file or a report out."""
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Optional, Protocol, Union, overload

import numpy as np

from tenon import _native
from tenon._error import Error
from tenon._numbers import count
from tenon._paths import Path, Paths, all_paths


class _Message(Protocol):
    def SerializeToString(self) -> bytes: ...


Model = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, _Message]
Shape = Sequence[Optional[int]]
Shapes = Union[Mapping[str, Shape], Shape]
Calibration = Union[Path, "np.ndarray[Any, Any]", Mapping[str, "np.ndarray[Any, Any]"]]


@dataclass(frozen=True)
class CheckedNode:
    """What becomes of one node of the user's model; `reason` says why, and the way out, for "cpu" and
    "unsupported"."""

    name: str
    op: str
    fate: Literal["mapped", "folded", "cpu", "unsupported"]
    reason: str


@dataclass(frozen=True)
class CheckReport:
    """The result of check(): every node, and whether the model can be compiled."""

    format: str
    nodes: tuple[CheckedNode, ...]
    warnings: tuple[str, ...]
    signatures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return bool(self.signatures)

    @property
    def unsupported(self) -> tuple[CheckedNode, ...]:
        return tuple(node for node in self.nodes if node.fate == "unsupported")

    def __str__(self) -> str:
        counts = {fate: sum(node.fate == fate for node in self.nodes)
                  for fate in ("mapped", "folded", "cpu", "unsupported")}
        lines = [f"{self.format}: " + ", ".join(f"{n} {fate}" for fate, n in counts.items())]
        lines += [f"  {node.name} ({node.op}): {node.reason}" for node in self.unsupported]
        return "\n".join(lines + [f"  warning: {warning}" for warning in self.warnings])


@overload
def compile(model: Model, output: None = None, *, precision: str = ..., target: Union[str, Sequence[str]] = ...,
            batches: Sequence[int] = ..., chip_precision: str = ...,
            input_shapes: Optional[Shapes] = ..., signature: Optional[str] = ...,
            inputs: Optional[Sequence[str]] = ..., outputs: Optional[Sequence[str]] = ...,
            disable: Iterable[str] = ..., optimize: bool = ..., custom_ops: Paths = ...,
            embed_custom_ops: bool = ..., max_loop_iterations: Optional[int] = ..., strict: bool = ...,
            verify: Optional[bool] = ..., verify_inputs: Optional[Path] = ...,
            calibration: Optional[Calibration] = ..., calibration_method: str = ...,
            preprocess: str = ..., samples: int = ..., statistics: Optional[Path] = ...,
            config: Optional[Path] = ..., report: Optional[Path] = ..., force_precision: bool = ...,
            prepack: Sequence[int] = ...) -> bytes: ...
@overload
def compile(model: Model, output: Path, *, precision: str = ..., target: Union[str, Sequence[str]] = ...,
            batches: Sequence[int] = ..., chip_precision: str = ...,
            input_shapes: Optional[Shapes] = ..., signature: Optional[str] = ...,
            inputs: Optional[Sequence[str]] = ..., outputs: Optional[Sequence[str]] = ...,
            disable: Iterable[str] = ..., optimize: bool = ..., custom_ops: Paths = ...,
            embed_custom_ops: bool = ..., max_loop_iterations: Optional[int] = ..., strict: bool = ...,
            verify: Optional[bool] = ..., verify_inputs: Optional[Path] = ...,
            calibration: Optional[Calibration] = ..., calibration_method: str = ...,
            preprocess: str = ..., samples: int = ..., statistics: Optional[Path] = ...,
            config: Optional[Path] = ..., report: Optional[Path] = ..., force_precision: bool = ...,
            prepack: Sequence[int] = ...) -> str: ...
def compile(model: Model, output: Optional[Path] = None, *, precision: str = "fp32",
            target: Union[str, Sequence[str]] = "cpu", batches: Sequence[int] = (1,),
            chip_precision: str = "fp16", input_shapes: Optional[Shapes] = None,
            signature: Optional[str] = None, inputs: Optional[Sequence[str]] = None,
            outputs: Optional[Sequence[str]] = None, disable: Iterable[str] = (),
            optimize: bool = True, custom_ops: Paths = (), embed_custom_ops: bool = False,
            max_loop_iterations: Optional[int] = None, strict: bool = False,
            verify: Optional[bool] = None, verify_inputs: Optional[Path] = None, calibration: Optional[Calibration] = None,
            calibration_method: str = "auto", preprocess: str = "", samples: int = 256,
            statistics: Optional[Path] = None, config: Optional[Path] = None,
            report: Optional[Path] = None, force_precision: bool = False, prepack: Sequence[int] = ()) -> Union[bytes, str]:
    """Compiles a model. Writes `output` and gives its path, or gives the file's bytes without it.

    model: a SavedModel folder, .pb, .pbtxt or .onnx; or the bytes of an ONNX model or GraphDef, or
    the protobuf message itself.
    input_shapes: {name: shape}, or one shape for a model with one input; None or -1 keeps a
    dimension open.
    target: "cpu", chips or families of chips, as a list or separated by commas: programs for them go
    into the file beside the portable graph. batches: sizes of the first dimension they are made for,
    where it is open; chip_precision: of real numbers there, "fp16", "bf16" or "fp32".
    signature: only this one of a SavedModel (default: all).
    inputs, outputs: where to cut a GraphDef or ONNX graph.
    disable: names of rules to switch off.
    custom_ops: shared libraries with ops of your own, and .tn files with decompositions.
    embed_custom_ops: put the libraries that are used into the file; who loads it must allow their
    code (Runner's allow_embedded_code).
    max_loop_iterations: what the file says of loops that do not end (see Runner).
    strict: on the CPU no algorithm that rounds otherwise than the sums themselves (Winograd's convolution): slower.
    verify: compare what was compiled with the reference interpreter of the imported model; None does
    it where that takes less than about a second. verify_inputs: an .npz archive with the inputs to
    do it on, by name, instead of made-up ones.

    precision: fp32; fp16 or bf16 (weights of 16 bits, products in bf16); int8, int8_fp16 or int8_bf16 (products of integers,
    the rest as named); int8_dynamic (integers by the range of each input); int8_weights or int4_weights (of matrix products); or
    what other compilers call them, such as "qint8_mixed_float16". See docs/quantization.md.
    config: a TOML file that says what single layers are.

    With precision "int8" the ranges of integers come from data:
    calibration: a path as of `tenon compile --calibration`, an array of samples for a model with one
    input, or {input: array of samples}; None: made-up numbers, and a warning.
    calibration_method: auto, minmax, moving-average, percentile, entropy, mse or aciq.
    preprocess: of pictures, such as "resize=256,crop=224,scale=1/255".
    samples: at most so many. statistics: a file in which what was found is kept and looked for.
    report: an .html or .json file to write.
    force_precision: the precision also in layers where it is predicted to be slower on this CPU.

    prepack: sizes of the first dimension, where it is open, for which weights are kept in the file also as this
    processor's kernels read them: a larger file that loads faster, such as (1,).

    Raises tenon.Error; nothing is written then. What was left out of the model is a UserWarning.
    """
    path = "" if output is None else os.fspath(output)
    if output is not None and not path:
        raise Error("the output path is empty", "invalid_argument")
    with tempfile.TemporaryDirectory(prefix="tenon_") as folder:
        content, notes = _native.compile(
            _source(model), path, signature or "", _names(inputs), _names(outputs),
            _shapes(input_shapes), _names(target), [count("a batch", batch) for batch in batches],
            chip_precision, precision, _names(disable), optimize, all_paths(custom_ops),
            embed_custom_ops, count("max_loop_iterations", max_loop_iterations), strict,
            True if verify_inputs is not None else verify, _path(verify_inputs),
            (_data(calibration, folder), calibration_method, preprocess, _path(statistics),
             count("samples", samples), _path(config), _path(report), force_precision),
            [count("a batch", batch) for batch in prepack])
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return path if output is not None else content


def check(model: Model, *, input_shapes: Optional[Shapes] = None, signature: Optional[str] = None,
          inputs: Optional[Sequence[str]] = None,
          outputs: Optional[Sequence[str]] = None, custom_ops: Paths = ()) -> CheckReport:
    """Says what becomes of every node of a model, in one pass. Raises tenon.Error only for what cannot
    be read at all."""
    format_, nodes, notes, keys = _native.check(_source(model), signature or "", _names(inputs),
                                                _names(outputs), _shapes(input_shapes),
                                                all_paths(custom_ops))
    return CheckReport(format_, tuple(CheckedNode(*node) for node in nodes), tuple(notes),
                       tuple(keys))


def _source(model: Any) -> Union[str, bytes, bytearray, memoryview]:
    if isinstance(model, (bytes, bytearray, memoryview)):
        return model
    if hasattr(model, "SerializeToString"):
        serialized: bytes = model.SerializeToString()
        return serialized
    path = os.fspath(model)
    return os.fsdecode(path)


def _path(path: Optional[Path]) -> str:
    return "" if path is None else os.fsdecode(os.fspath(path))


def _data(calibration: Optional[Calibration], folder: str) -> str:
    """The path of calibration data; arrays are written into the folder."""
    if calibration is None or isinstance(calibration, (str, os.PathLike)):
        return _path(calibration)
    if isinstance(calibration, Mapping):
        file = os.path.join(folder, "calibration.npz")
        np.savez(file, **{name: np.asarray(value) for name, value in calibration.items()})
    else:
        file = os.path.join(folder, "calibration.npy")
        np.save(file, np.asarray(calibration))
    return file


def _names(names: Optional[Iterable[str]]) -> list[str]:
    if names is None:
        return []
    return names.split(",") if isinstance(names, str) else list(names)


def _shapes(shapes: Optional[Shapes]) -> list[tuple[str, list[int]]]:
    if shapes is None:
        return []
    named = shapes if isinstance(shapes, Mapping) else {"": shapes}
    result = []
    for name, shape in named.items():
        try:
            sizes = [-1 if size is None else int(size) for size in shape]
        except (TypeError, ValueError):
            raise Error(f"the shape given for input '{name}' is {shape!r}; expected sizes such as "
                        "(1, 224, 224, 3), with None for an open dimension",
                        "invalid_argument") from None
        if any(size < -1 for size in sizes):
            raise Error(f"the shape given for input '{name}' has a negative size: {shape!r}",
                        "invalid_argument")
        result.append((name, sizes))
    return result
