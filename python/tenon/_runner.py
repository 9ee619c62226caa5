"""Runner: a compiled file, loaded and ready to run."""
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from tenon import _native
from tenon._error import Error
from tenon._numbers import count
from tenon._paths import Paths, all_paths


class Port(NamedTuple):
    """An input or output. `dtype` is NumPy's name of it, or "string" or "bfloat16"; `shape` has None for
    an open dimension and is None where the rank is open; an `is_list` port takes a list of arrays."""

    name: str
    dtype: str
    shape: Optional[tuple[Optional[int], ...]]
    is_list: bool = False


class Device(NamedTuple):
    """What models can be run on; `simulated` devices compute the result and predict the time."""

    name: str
    title: str
    family: str
    simulated: bool


def devices() -> tuple[Device, ...]:
    """The devices there are: the CPU, and those of plug-ins (in TENON_DEVICE_PATH, too)."""
    return tuple(Device(*device) for device in _native.devices())


class State(Mapping[str, Any]):
    """What the variables of a model hold that keep their values between runs: {name: array}.

    Reading gives a copy, assigning to a name sets a variable, reset() gives all of them their initial
    values. `variables` says their types.
    """

    def __init__(self, native: "_native.State") -> None:
        self._native = native
        self.variables: tuple[Port, ...] = tuple(Port(*port) for port in native.variables())
        self._positions = {port.name: i for i, port in enumerate(self.variables)}

    def _position(self, name: str) -> int:
        if name not in self._positions:
            raise Error(f"there is no state variable {name!r}; the model has: "
                        f"{', '.join(map(repr, self._positions)) or 'none'}", "invalid_argument")
        return self._positions[name]

    def __getitem__(self, name: str) -> Any:
        return self._native.get(self._position(name))

    def __setitem__(self, name: str, value: Any) -> None:
        self._native.set(self._position(name), value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    def __len__(self) -> int:
        return len(self._positions)

    def update(self, values: Mapping[str, Any]) -> None:
        """Sets several variables."""
        for name, value in values.items():
            self[name] = value

    def reset(self) -> None:
        """Gives every variable its initial value."""
        self._native.reset()


def _bare(name: str) -> str:
    return name.removesuffix(":0")


class Runner:
    """Loads a .tenon file, from a path or from bytes, to run one of its signatures.

    Thread-safe: any number of threads may call run() at once; the interpreter lock is released
    meanwhile. `threads` is how many a single run uses (default: one per core). A loop of the model
    that has not ended after `max_loop_iterations` is an error (default: what the file says, or 100
    million). Ctrl-C ends a run in the main thread. `custom_ops` are the shared libraries of the
    model's custom ops; `allow_embedded_code` runs those that the file itself carries: for files you
    trust.

    `device` is "cpu" or the name of one that tenon.devices() lists; the programs that the file has for it
    are used, or made of its graph. `precision` is that of real numbers there ("fp16", "bf16", "fp32"; default:
    that of the file's programs, or fp16). `counters` and `notices` then say what the device counted and
    left to the host; times of simulated devices are predicted.

    Where the model assigns variables, the runner keeps them between runs, in `state`; such runs follow
    one another. Every runner begins with the initial values, and has values of its own but for those
    that with_signature() makes.
    """

    def __init__(self, model: Union[str, "os.PathLike[str]", bytes, bytearray, memoryview], *,
                 threads: Optional[int] = None, signature: Optional[str] = None,
                 device: str = "cpu", precision: Optional[str] = None, verify: bool = True,
                 max_loop_iterations: Optional[int] = None, custom_ops: Paths = (),
                 allow_embedded_code: bool = False) -> None:
        source = model if isinstance(model, (bytes, bytearray, memoryview)) else os.fspath(model)
        native = _native.load(source, count("threads", threads), verify,
                              count("max_loop_iterations", max_loop_iterations),
                              all_paths(custom_ops), allow_embedded_code)
        self._open(native, signature or "", None, (device, precision or ""))

    def _open(self, model: "_native.Model", signature: str, state: Optional[State],
              device: tuple[str, str]) -> None:
        self._model = model
        self._device = device
        self._function = model.function(signature, None if state is None else state._native, *device)
        self.state: State = State(self._function.state())
        self.signature: str = self._function.key()
        self.inputs: tuple[Port, ...] = tuple(Port(*port) for port in self._function.inputs())
        self.outputs: tuple[Port, ...] = tuple(Port(*port) for port in self._function.outputs())
        self._positions = {_bare(port.name): i for i, port in enumerate(self.inputs)}
        self._input_names = tuple(port.name for port in self.inputs)
        self._output_names = tuple(port.name for port in self.outputs)

    @property
    def signatures(self) -> tuple[str, ...]:
        """The keys of all signatures in the file."""
        return tuple(self._model.functions())

    def with_signature(self, signature: str) -> "Runner":
        """A runner of another signature of the file, with the same weights and the same state."""
        runner = Runner.__new__(Runner)
        runner._open(self._model, signature, self.state, self._device)
        return runner

    def reset_state(self) -> None:
        """Gives the variables their initial values: the next run is a first one."""
        self.state.reset()

    @property
    def device(self) -> str:
        """The name of the device it runs on."""
        return self._function.device()

    @property
    def counters(self) -> dict[str, float]:
        """What the device counted since the runner was made: executions, launches, host_nodes, bytes_in,
        bytes_out, memory_bytes, seconds, last_seconds, and others of its own. Seconds of a simulated
        device are predicted. Empty on the CPU."""
        return dict(self._function.counters())

    @property
    def notices(self) -> tuple[str, ...]:
        """What the device has to say: nodes left to the host and why, what was compiled at load."""
        return tuple(self._function.notices())

    @property
    def metadata(self) -> dict[str, str]:
        """What the compiler noted in the file."""
        return dict(self._model.notes(), producer=self._model.producer())

    def run(self, *inputs: Any, out: Optional[Mapping[str, np.ndarray]] = None,
            **named: Any) -> dict[str, Any]:
        """Runs on {name: array}, on arrays in the order of `inputs`, or on name=array; gives
        {name: array} of every output.

        C-contiguous arrays of the input's dtype are used where they lie (NumPy, or any CPU array
        with __dlpack__); others are copied. What comes back owns its memory. `out` may name
        writable arrays that receive outputs without another copy.
        """
        if len(inputs) == 1 and type(inputs[0]) is dict and not named and not out:
            outputs = self._function.run_by_name(inputs[0], self._input_names, self._output_names)
            if outputs is not None:
                return outputs
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            operands = self._by_name({**inputs[0], **named} if named else inputs[0])
        elif inputs:
            operands = self._by_position(inputs, named)
        else:
            operands = self._by_name(named)
        buffers = self._buffers(out) if out else []
        return dict(zip(self._output_names, self._function.run(operands, buffers)))

    def cancel(self) -> None:
        """Ends the runs of this runner that are under way in other threads; each raises tenon.Error
        of code "cancelled". Later runs are not affected."""
        self._function.cancel()

    def _by_position(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        if len(inputs) > len(self.inputs):
            raise Error(f"{len(inputs)} inputs were given, signature '{self.signature}' takes "
                        f"{self._listed(self.inputs)}", "invalid_argument")
        if len(inputs) == len(self.inputs) and not named:
            return list(inputs)
        given = {port.name: array for port, array in zip(self.inputs, inputs)}
        for name in named:
            if _bare(name) in map(_bare, given):
                raise Error(f"input '{name}' is given twice", "invalid_argument")
        return self._by_name({**given, **named})

    def _by_name(self, named: Mapping[str, Any]) -> list[Any]:
        if len(named) == len(self._input_names):
            try:  # the names as they are: a microsecond less
                return [named[name] for name in self._input_names]
            except KeyError:
                pass
        operands: list[Any] = [_MISSING] * len(self.inputs)
        for name, array in named.items():
            position = self._positions.get(_bare(name)) if isinstance(name, str) else None
            if position is None:
                raise Error(f"there is no input {name!r}; signature '{self.signature}' takes "
                            f"{self._listed(self.inputs)}", "invalid_argument")
            operands[position] = array
        missing = [port for port, array in zip(self.inputs, operands)
                   if array is _MISSING and port.dtype != "none"]
        if missing:
            raise Error(f"missing: {self._listed(missing)}; signature '{self.signature}' takes "
                        f"{self._listed(self.inputs)}", "invalid_argument")
        return [None if array is _MISSING else array for array in operands]

    def _buffers(self, out: Mapping[str, np.ndarray]) -> list[Optional[np.ndarray]]:
        for name in out:
            if name not in self._output_names:
                raise Error(f"there is no output {name!r}; signature '{self.signature}' gives "
                            f"{self._listed(self.outputs)}", "invalid_argument")
        return [out.get(name) for name in self._output_names]

    @staticmethod
    def _listed(ports: Sequence[Port]) -> str:
        def one(port: Port) -> str:
            if port.shape is None:
                return f"'{port.name}' ({port.dtype}, any shape)"
            sizes = ", ".join("?" if size is None else str(size) for size in port.shape)
            return f"'{port.name}' ({port.dtype} [{sizes}])"
        return ", ".join(map(one, ports)) or "no inputs"

    def __repr__(self) -> str:
        return (f"<tenon.Runner '{self.signature}': {self._listed(self.inputs)} -> "
                f"{self._listed(self.outputs)}>")


_MISSING: Any = object()
