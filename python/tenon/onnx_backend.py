"""Tenon as a backend of ONNX's own interface, so that onnx.backend.test can drive it.

    from tenon import onnx_backend
    onnx_backend.prepare(model).run([x])
"""
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TypeProto, helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from tenon._compiler import compile
from tenon._runner import Runner


class TenonRep(BackendRep):
    """A compiled model."""

    def __init__(self, model: ModelProto, threads: Optional[int] = None) -> None:
        self._runner = Runner(compile(model), threads=threads)
        self._strings_out = {
            output.name for output in model.graph.output if _holds_strings(output.type)}
        # Optionals of tensors are lists of no or one item.
        self._optionals = [input_.type.WhichOneof("value") == "optional_type"
                           and input_.type.optional_type.elem_type.WhichOneof("value") == "tensor_type"
                           for input_ in model.graph.input]
        self._input_names = [input_.name for input_ in model.graph.input]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Arrays in the order of the graph's inputs, or {name: array}; gives a named tuple."""
        if isinstance(inputs, (np.ndarray, np.generic)):
            inputs = [inputs]
        optional = {name for name, is_one in zip(self._input_names, self._optionals) if is_one}
        if isinstance(inputs, dict):
            inputs = {name: _item(value) if name in optional else value
                      for name, value in inputs.items()}
        else:
            inputs = [_item(value) if name in optional else value
                      for name, value in zip(self._input_names, inputs)]
        results = self._runner.run(inputs) if isinstance(inputs, dict) else self._runner.run(*inputs)
        values = [_decoded(value) if name in self._strings_out else value
                  for name, value in results.items()]
        return namedtupledict("Outputs", list(results))(*values)


class TenonBackend(Backend):
    """onnx.backend.base.Backend on Tenon's CPU runtime."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> TenonRep:
        """`threads` is Tenon's; other options, such as the tolerances of ONNX's suite, are not for a
        backend to act on."""
        if not cls.supports_device(device):
            raise ValueError(f"there is no device '{device}'; this version runs on: CPU")
        onnx.checker.check_model(model)
        return TenonRep(model, kwargs.get("threads"))

    @classmethod
    def run_node(cls, node: NodeProto, inputs: Any, device: str = "CPU",
                 outputs_info: Optional[Sequence[tuple[np.dtype, tuple[int, ...]]]] = None,
                 **kwargs: Any) -> tuple[Any, ...]:
        """Runs one node. `opset_version` chooses the version of the node's domain."""
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = list(dict.fromkeys(name for name in node.input if name))
        if isinstance(inputs, dict):
            arrays = [np.asarray(inputs[name]) for name in names]
        else:
            arrays = [np.asarray(value) for value in inputs]
        if len(arrays) != len(names):
            raise ValueError(f"{node.op_type} takes {len(names)} inputs here, {len(arrays)} were given")
        graph = helper.make_graph(
            [node], node.op_type,
            [helper.make_tensor_value_info(name, _element_type(array.dtype), array.shape)
             for name, array in zip(names, arrays)],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name])
        if outputs_info is not None:
            for output, (dtype, shape) in zip(graph.output, outputs_info):
                output.CopyFrom(helper.make_tensor_value_info(
                    output.name, _element_type(np.dtype(dtype)), shape))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])
        if outputs_info is None:
            model = onnx.shape_inference.infer_shapes(model)
        return TenonRep(model).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        try:
            return bool(Device(device).type == DeviceType.CPU)
        except (AttributeError, ValueError):
            return False


def _element_type(dtype: np.dtype) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(object) if dtype.kind in "SU" else dtype)


def _item(value: Any) -> Any:
    """An optional tensor as the list it is."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _holds_strings(type_: TypeProto) -> bool:
    kind = type_.WhichOneof("value")
    if kind == "tensor_type":
        return type_.tensor_type.elem_type == onnx.TensorProto.STRING
    if kind in ("sequence_type", "optional_type"):
        return _holds_strings(getattr(type_, kind).elem_type)
    return False


def _decoded(value: Any) -> Any:
    """ONNX's strings are text."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if value is None:
        return None
    text = np.empty(value.shape, dtype=object)
    text.ravel()[:] = [item.decode() for item in value.ravel()]
    return text


is_compatible = TenonBackend.is_compatible
prepare = TenonBackend.prepare
run_model = TenonBackend.run_model
run_node = TenonBackend.run_node
supports_device = TenonBackend.supports_device
