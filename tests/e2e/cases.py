"""The models that models_table.py runs: this repository's fixtures and the models of ../shared/models.

A case is a model, what to tell `tenon compile`, and a function that yields its sets of inputs and expected
outputs. Where the shared folder gives no reference, references/NAME.npz holds one that TensorFlow or ONNX
Runtime computed (make_references.py).
"""
import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
SHARED = ROOT.parent / "shared/models"
REFERENCES = Path(__file__).resolve().parent / "references"


@dataclass
class Sample:
    """One run: inputs by name, expected outputs by name (a subset suffices), the signature."""
    inputs: dict
    outputs: dict
    signature: str = ""


@dataclass
class Part:
    """Every `step`-th value of an output of this shape."""
    values: np.ndarray
    step: int
    shape: tuple


@dataclass
class Case:
    name: str
    model: Path
    samples: Callable
    options: list = field(default_factory=list)
    label_agreement: float | None = None


@dataclass
class Skip:
    name: str
    reason: str


def pattern(shape, low, high):
    """Reproducible numbers between low and high that no library's generator can change."""
    index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    index = (index * np.uint64(2654435761) + np.uint64(12345)) % np.uint64(2**32)
    index = (index ^ (index >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(2**32)
    return (low + (high - low) * (index / 2**32)).astype(np.float32).reshape(shape)


def read_sample(path):
    """Inputs in:NAME and pattern:NAME (bounds and shape), outputs out:NAME and part:NAME."""
    arrays = dict(np.load(path, allow_pickle=False))
    inputs = {key[3:]: value for key, value in arrays.items() if key.startswith("in:")}
    for key, value in arrays.items():
        if key.startswith("pattern:"):
            inputs[key[8:]] = pattern([int(size) for size in value[2:]], *value[:2])
    outputs = {key[4:]: value for key, value in arrays.items() if key.startswith("out:")}
    for key, value in arrays.items():
        if key.startswith("part:"):
            step, *shape = (int(size) for size in arrays["shape:" + key[5:]])
            outputs[key[5:]] = Part(value, step, tuple(shape))
    signature = str(arrays["signature"]) if "signature" in arrays else ""
    return Sample(inputs, outputs, signature)


def fixture_cases():
    for kind in ("tf", "onnx"):
        for folder in sorted((FIXTURES / kind).iterdir()):
            models = [folder / name for name in ("model.onnx", "model.pb", "model.pbtxt", "saved_model")]
            model = next((path for path in models if path.exists()), None)
            files = sorted(folder.glob("io*.npz"))
            if model is None or not files:
                yield Skip(f"{kind}/{folder.name}", "no model or no recorded outputs in the folder")
                continue
            options = []
            if model.suffix in (".pb", ".pbtxt"):
                first = read_sample(files[0])
                options = ["--inputs", ",".join(first.inputs), "--outputs", ",".join(first.outputs)]
            yield Case(f"{kind}/{folder.name}", model, lambda files=files: map(read_sample, files), options)


def read_tensor(path):
    return numpy_helper.to_array(onnx.load_tensor(path))


def names_of(model):
    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [value.name for value in graph.input if value.name not in weights], [value.name for value in graph.output]


def backend_samples(model):
    """Samples of ONNX's own layout: test_data_set_N/input_I.pb and output_I.pb."""
    inputs, outputs = names_of(model)
    for folder in sorted(model.parent.glob("test_data_set_*")):
        given = [read_tensor(folder / f"input_{i}.pb") for i in range(len(list(folder.glob("input_*.pb"))))]
        wanted = [read_tensor(folder / f"output_{i}.pb") for i in range(len(list(folder.glob("output_*.pb"))))]
        yield Sample(dict(zip(inputs, given)), dict(zip(outputs, wanted)))


def npz_samples(model):
    """io.npz with plain names; names that the graph does not have are taken by position."""
    arrays = dict(np.load(model.parent / "io.npz"))
    inputs, outputs = names_of(model)
    given = {name: arrays.pop(name) for name in inputs if name in arrays}
    if not given and "input" in arrays:
        given = {inputs[0]: arrays.pop("input")}
    wanted = {name: arrays.pop(name) for name in outputs if name in arrays}
    if not wanted and len(arrays) == 1:
        wanted = {outputs[-1]: arrays.popitem()[1]}
    yield Sample(given, wanted)


def light_samples(model):
    """Weights and outputs are constant: any input gives the recorded output."""
    inputs, outputs = names_of(model)
    expected = read_tensor(model.with_name(model.stem + "_output_0.pb"))
    yield Sample({inputs[0]: pattern((1, 3, 224, 224), -1, 1)}, {outputs[0]: expected})


def mnist(count):
    def idx(name, header):
        return np.frombuffer(gzip.decompress((SHARED / "data/mnist" / name).read_bytes()), np.uint8, offset=header)
    images = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:count].astype(np.float32)
    return images, idx("t10k-labels-idx1-ubyte.gz", 8)[:count]


def mnist_samples(model, mean, deviation, scale, count=60):
    """Images with their labels; the expected output is one-hot and only its largest place counts."""
    inputs, outputs = names_of(model)
    for image, label in zip(*mnist(count)):
        yield Sample({inputs[0]: (image[None] * scale - mean) / deviation},
                     {outputs[0]: np.eye(10, dtype=np.float32)[None, label]})


def formula(function, inputs, **outputs):
    """A sample whose outputs are computed from its inputs by a formula that the model's authors state."""
    return lambda: [Sample(inputs, {name: np.asarray(make(**inputs)) for name, make in outputs.items()}, function)]


def formula_cases():
    x = np.array([[-2.0], [0.5], [7.0]], np.float32)
    scalar, whole = np.float32(2.5), np.int32(7)
    serving = (("half_plus_two_cpu/00000123", x, 2), ("half_plus_two_mkl/00000123", x, 2),
               ("half_plus_two_2_versions/00000123", x, 2), ("half_plus_three/00000123", scalar, 3))
    for name, value, addend in serving:
        yield Case(f"tf/serving_{name}", SHARED / f"tf/serving_{name}",
                   formula("serving_default", {"x": value}, y=lambda x, a=addend: x / 2 + np.float32(a)),
                   ["--signature", "serving_default"])
    yield Case("tf/serving_matrix_half_plus_two/1", SHARED / "tf/serving_matrix_half_plus_two/1",
               formula("", {"x": pattern((2, 3, 3), -4, 4)}, y=lambda x: x / 2 + 2))
    def counter(function, value, **inputs):
        return Sample(inputs, {"output": np.float32(value)}, function)
    yield Case("tf/serving_counter/00000123", SHARED / "tf/serving_counter/00000123",
               lambda: [counter("get_counter", 0), counter("incr_counter", 1), counter("incr_counter", 2),
                        counter("incr_counter_by", 5, delta=np.float32(3)), counter("get_counter", 5),
                        counter("reset_counter", 0), counter("incr_counter", 1)])
    node = SHARED / "tf/tfjs_node_savedmodels"
    yield Case("tf/tfjs_node/times_three_float", node / "times_three_float", formula("", {"x": scalar}, output_0=lambda x: 3 * x))
    yield Case("tf/tfjs_node/times_two_int", node / "times_two_int", formula("", {"x": whole}, output_0=lambda x: 2 * x))
    yield Case("tf/tfjs_node/timestwo", node / "module_with_multiple_signatures",
               formula("timestwo", {"x": scalar}, output_0=lambda x: 2 * x), ["--signature", "timestwo"])
    graphs = SHARED / "tf/rust_graphdefs"
    yield Case("tf/rust_graphdefs/addition", graphs / "addition/model.pb",
               formula("", {"x": whole, "y": np.int32(5)}, z=lambda x, y: x + y))
    yield Case("tf/rust_graphdefs/multiplication", graphs / "multiplication.pb",
               formula("", {"a": scalar, "b": np.float32(3)}, c=lambda a, b: a * b))
    yield Case("tf/hey_snips/plus3", SHARED / "tf/hey_snips/plus3.pb",
               formula("", {"input": np.arange(4, dtype=np.float32)}, output=lambda input: input + 3))
    yield Case("tf/polygraphy_identity", SHARED / "tf/polygraphy_identity/tf_identity.pb",
               formula("", {"Input": pattern((1, 15, 25, 30), -1, 1)}, Identity_2=lambda Input: Input))
    yield Case("tf/java_saved_model/add", SHARED / "tf/java_saved_model_using_python/model",
               formula("add", {"a": scalar, "b": np.float32(3)}, output_0=lambda a, b: a + b), ["--signature", "add"])


NO_REFERENCE = {
    "onnx/ort_fusion": "241 patterns for fusion passes, class `parse`: no inputs or outputs come with them",
    "onnx/tract_cases/tinyyolov2": "the model's file is not in the folder, only its inputs and outputs",
    "onnx/tract_cases/transformer-mlm": "the model's file is not in the folder, only its inputs and outputs",
    "tf/rust_regression_savedmodel": "its signatures train; the product runs inference",
    "tf/rust_graphdefs/regression": "an unfrozen training graph without a checkpoint",
    "tf/tfx_chicago_keras_tf2": "class `parse`: parses serialised tf.Example records, no reference outputs",
    "tf/tfx_chicago_trained_tf1": "class `parse`: parses serialised tf.Example records, no reference outputs",
}


def reference_cases():
    """Models with outputs recorded by make_references.py."""
    for path in sorted(REFERENCES.glob("*.npz")):
        arrays = np.load(path)
        model, options = str(arrays["model"]), [str(word) for word in arrays["options"]]
        yield Case(path.stem.replace("__", "/"), SHARED / model, lambda path=path: [read_sample(path)], options)


def onnx_cases():
    for group in ("onnx_simple", "onnx_pytorch_converted", "onnx_pytorch_operator"):
        for model in sorted((SHARED / "onnx" / group).glob("*/model.onnx")):
            yield Case(f"onnx/{group}/{model.parent.name}", model, lambda model=model: backend_samples(model))
    for model in sorted((SHARED / "onnx/tract_cases").glob("*/*.onnx")):
        name = f"onnx/tract_cases/{model.parent.name}"
        if (model.parent / "io.npz").exists() and not (REFERENCES / (name.replace("/", "__") + ".npz")).exists():
            yield Case(name, model, lambda model=model: npz_samples(model))
    for model in sorted((SHARED / "onnx/onnx_light").glob("*.onnx")):
        yield Case(f"onnx/onnx_light/{model.stem}", model, lambda model=model: light_samples(model))
    labelled = (("onnx/ort_mnist/mnist.onnx", 0, 1, 1), ("onnx/wonnx_mnist/opt-mnist.onnx", 0, 1, 1),
                ("onnx/ort_mnist/testdata/cnn_mnist_pytorch.onnx", 0.1307, 0.3081, 1 / 255))
    for name, mean, deviation, scale in labelled:
        model = SHARED / name
        yield Case(f"{name.removesuffix('.onnx')} labels", model,
                   lambda model=model, rest=(np.float32(mean), np.float32(deviation), np.float32(scale)): mnist_samples(model, *rest),
                   label_agreement=0.95)


def all_cases():
    yield from fixture_cases()
    if not SHARED.is_dir():
        yield Skip("shared models", "../shared/models is not here")
        return
    yield from onnx_cases()
    yield from formula_cases()
    yield from reference_cases()
    for name, reason in NO_REFERENCE.items():
        yield Skip(name, reason)
