"""What a coverage case is, and how it is judged: a model made by TensorFlow, exported, compiled by Tenon, run by
both on the same inputs, call after call."""
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE, HALF_TOLERANCE = 1e-4, 4e-3
DEFAULT = "serving_default"


class Failure(Exception):
    """Tenon refuses the model or computes something else."""


@dataclass
class Case:
    """`make(folder)` writes folder/saved_model (or model.pb) and returns a list of Calls."""
    family: str
    name: str
    make: Callable

    @property
    def key(self):
        return f"{self.family}/{self.name}"


@dataclass
class Call:
    """One run and what TensorFlow gives for it; `exact()` gives its one output in double precision."""
    inputs: dict
    outputs: dict
    signature: str = DEFAULT
    exact: Callable | None = None


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def uniform(rng, *shape, low=0.0, high=1.0):
    return rng.uniform(low, high, shape).astype(np.float32)


def whole(rng, low, high, *shape, dtype=np.int32):
    return rng.integers(low, high, shape).astype(dtype)


def shake(model, rng):
    """Gives biases and normalisation statistics values as training would leave them."""
    for variable in model.variables:
        name = variable.path if hasattr(variable, "path") else variable.name
        if not str(variable.dtype).count("float"):
            continue
        if "variance" in name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif any(word in name for word in ("bias", "beta", "moving_mean")):
            variable.assign(variable + rng.normal(0, 0.1, variable.shape))
        elif "gamma" in name:
            variable.assign(rng.uniform(0.7, 1.3, variable.shape))


def tensorflow_calls(folder, *calls):
    """Runs the SavedModel as a user loads it; a call is its inputs or (signature, inputs)."""
    import tensorflow as tf
    loaded = tf.saved_model.load(folder / "saved_model")
    records = []
    for call in calls:
        signature, inputs = call if isinstance(call, tuple) else (DEFAULT, call)
        function = loaded.signatures[signature]
        specs = function.structured_input_signature[1]
        if isinstance(inputs, list):
            inputs = dict(zip(specs, inputs))
        outputs = function(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()})
        records.append(Call(inputs, {key: value.numpy() for key, value in outputs.items()}, signature))
    return records


def export_function(folder, function, inputs, *more, module=None, open_batch=False):
    """Saves a tf.function as serving_default and calls it with each set of inputs."""
    import tensorflow as tf
    specs = {}
    for key, value in inputs.items():
        tensor = tf.constant(value)
        shape = [None] + list(tensor.shape)[1:] if open_batch and tensor.shape.rank else tensor.shape
        specs[key] = tf.TensorSpec(shape, tensor.dtype, name=key)
    concrete = tf.function(lambda **named: function(**named)).get_concrete_function(**specs)
    tf.saved_model.save(module or tf.Module(), str(folder / "saved_model"), {DEFAULT: concrete})
    return tensorflow_calls(folder, inputs, *more)


def as_npy(array):
    array = np.asarray(array)
    return array.astype("S") if array.dtype.kind in "UO" else np.ascontiguousarray(array).reshape(array.shape)


class Tenon:
    """build/bin/tenon in a folder of its own."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def __call__(self, *arguments):
        result = subprocess.run([self.program, *map(str, arguments)], capture_output=True)
        if result.returncode == 0:
            return result.stdout
        lines = [line.strip() for line in result.stderr.decode(errors="replace").splitlines() if line.strip()]
        first = next((i for i, line in enumerate(lines) if line.startswith("tenon:")), 0)
        text = " ".join(lines[first:first + 3]).removeprefix("tenon: ")
        if result.returncode < 0:
            text = f"killed by signal {-result.returncode}"
        raise Failure(f"{arguments[0]}: {text or 'no message'}"[:300])

    def run(self, file, call):
        arguments, state = ["--signature", call.signature] if call.signature != DEFAULT else [], self.folder / "state"
        for index, (name, value) in enumerate(call.inputs.items()):
            np.save(self.folder / f"in{index}.npy", as_npy(value))
            arguments += ["--input", f"{name}={self.folder / f'in{index}.npy'}"]
        if state.exists() and any(state.iterdir()):
            arguments += ["--state-in", state]
        answer = self("run", file, *arguments, "--state-out", state, "--output-dir", self.folder / "out", "--json")
        listed = json.loads(answer)["outputs"]
        return {name: np.load(entry["file"]) for name, entry in listed.items() if entry.get("file")}


def difference(name, ours, theirs, exact=None):
    """The largest error relative to the largest value; raises Failure beyond the tolerance. Where a network magnifies
    rounding beyond it, `exact` decides: Tenon may be twice as far from it as TensorFlow is."""
    theirs = np.asarray(theirs)
    if ours.shape != theirs.shape:
        raise Failure(f"{name}: shape {list(ours.shape)}, TensorFlow's is {list(theirs.shape)}")
    if theirs.dtype.kind in "SUO":
        if not np.array_equal(ours.astype("S"), theirs.astype("S")):
            raise Failure(f"{name}: strings differ")
        return 0.0
    if theirs.dtype.kind in "biu":
        if ours.dtype != theirs.dtype or not np.array_equal(ours, theirs):
            raise Failure(f"{name}: {int((ours != theirs).sum())} of {theirs.size} {theirs.dtype} values differ")
        return 0.0
    half = theirs.dtype.itemsize == 2
    wide = np.complex128 if np.iscomplexobj(theirs) else np.float64
    if ours.dtype.kind == "V":  # bfloat16
        ours = (ours.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(theirs.shape)
    a, b = ours.astype(wide), theirs.astype(wide)
    finite = np.isfinite(b)
    if not np.array_equal(np.isnan(a), np.isnan(b)) or not np.array_equal(a[~finite & ~np.isnan(b)], b[~finite & ~np.isnan(b)]):
        raise Failure(f"{name}: NaN or infinities differ")
    if not finite.any():
        return 0.0
    base = max(float(np.abs(b[finite]).max()), 1e-6)
    error = float(np.abs(a[finite] - b[finite]).max()) / base
    if error <= (HALF_TOLERANCE if half else TOLERANCE):
        return error
    reason = f"{name}: error {error:.1e} relative to {base:.3g}"
    if exact is not None:
        truth = exact()
        our_error, their_error = (float(np.abs(x - truth).max()) / base for x in (a, b))
        reason += f"; from the result in float64 {our_error:.1e}, TensorFlow's is {their_error:.1e} from it"
        if our_error <= 2 * their_error:
            return Magnified(reason)
    raise Failure(reason)


class Magnified(str):
    """How far both are from the truth, where float32 does not decide."""


def check(case, program):
    """Makes, compiles, runs and compares; gives a row for the table."""
    with tempfile.TemporaryDirectory(prefix="tenon-coverage-") as name:
        folder = Path(name)
        try:
            calls = case.make(folder)
        except Exception as error:  # whatever the frameworks throw
            return {"status": "not made", "reason": f"{type(error).__name__}: {error}"[:300]}
        tenon = Tenon(program, folder)
        model = folder / "saved_model"
        try:
            tenon("compile", model if model.exists() else folder / "model.pb", "-o", folder / "model.tenon")
            worst, magnified = 0.0, ""
            for call in calls:
                outputs = tenon.run(folder / "model.tenon", call)
                for key, theirs in call.outputs.items():
                    if key not in outputs:
                        raise Failure(f"no output '{key}'; there are {', '.join(outputs)}")
                    error = difference(key, outputs[key], theirs, call.exact)
                    if isinstance(error, Magnified):
                        magnified = error
                    else:
                        worst = max(worst, error)
                    if case.family == "applications":
                        same = (outputs[key].argmax(-1) == np.asarray(theirs).argmax(-1)).all()
                        if not same:
                            raise Failure(f"{key}: another class is the most probable one")
        except Failure as failure:
            return {"status": "failed", "reason": str(failure)}
        return {"status": "passed", "error": worst, **({"reason": magnified} if magnified else {})}


def quiet():
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "",
                   "KERAS_BACKEND": "tensorflow"}
