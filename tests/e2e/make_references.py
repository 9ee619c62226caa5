"""Records what TensorFlow or ONNX Runtime computes with the models of ../shared/models that come without
reference outputs.

    .venv-dev/bin/python tests/e2e/make_references.py [NAME…]

Writes references/NAME.npz (slashes as __): the model's path, the options for `tenon compile`, inputs as
`in:NAME`, or as `pattern:NAME` = [low, high, *shape] (cases.pattern), and `out:NAME`; of a large output only
every n-th value, `part:NAME` with `shape:NAME` = [n, *shape]. NAME may be a prefix.
"""
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

from cases import REFERENCES, SHARED, read_sample


def uniform(*shape, low=0, high=1):
    return ("pattern", np.array([low, high, *shape], np.float64))


def exactly(value, dtype=np.float32):
    return ("in", np.asarray(value, dtype))


def photo(path, width, height):
    """Blue, green, red of a picture, made smaller."""
    from PIL import Image
    return np.asarray(Image.open(SHARED / path).convert("RGB").resize((width, height)))[..., ::-1]


def graph(path, outputs, **inputs):
    """A frozen GraphDef; an input may be a tensor inside the graph."""
    return path, {key.replace("__", "/"): value for key, value in inputs.items()}, outputs.split(","), "graph"


def saved(path, signature="serving_default", **inputs):
    return path, inputs, signature, "saved_model"


def onnx(path, inputs):
    return path, inputs, None, "onnx"


def super_resolution():
    for scale in (2, 3, 4):
        for name in (f"espcn/ESPCN_x{scale}", f"fsrcnn/FSRCNN-small_x{scale}", f"fsrcnn/FSRCNN_x{scale}"):
            yield f"tf/{name}", graph(f"tf/{name}.pb", "NCHW_output", IteratorGetNext=uniform(1, 20, 24, 1))


def keyword_spotting():
    for name in ("DNN_S", "DNN_M", "CNN_S", "CNN_M", "DS_CNN_S", "DS_CNN_M", "Basic_LSTM_S", "LSTM_S", "LSTM_M", "GRU_S",
                 "GRU_M", "CRNN_S", "CRNN_M"):
        path = f"tf/kws_mcu/{name[:-2]}/{name}.pb"
        frames = 25 if name in ("DNN_S", "DNN_M", "GRU_S", "LSTM_S") else 49
        yield f"tf/kws_mcu/{name}", graph(path, "labels_softmax", Mfcc=uniform(1, frames, 10, low=-20, high=20))


def models():
    yield from super_resolution()
    yield from keyword_spotting()
    yield "tf/basic_pitch_nmp", saved("tf/basic_pitch_nmp", input_2=uniform(1, 43844, 1, low=-0.5, high=0.5))
    yield "tf/cppflow_load_model", saved("tf/cppflow_load_model/model", input_1=uniform(3, 5, low=-1))
    yield "tf/cppflow_multi_io", saved("tf/cppflow_multi_io/model", my_input_1=uniform(3, 5, low=-1), my_input_2=uniform(3, 5))
    yield "tf/dtln_savedmodel", saved("tf/dtln_savedmodel", input_1=uniform(1, 512, low=-0.3, high=0.3))
    yield "tf/hey_snips/hey_snips_3", graph("tf/hey_snips/hey_snips_3.pb", "logits", inputs=uniform(100, 40, low=-2, high=2))
    yield "tf/java_saved_model/get_const_scalar", saved("tf/java_saved_model_using_python/model", "get_const_scalar", input=exactly(1))
    yield "tf/java_saved_model/get_const_vector", saved("tf/java_saved_model_using_python/model", "get_const_vector", input=exactly(1))
    yield "tf/mlperf_tiny_kws", saved("tf/mlperf_tiny_kws", input_1=uniform(2, 49, 10, 1, low=-40, high=40))
    for name in ("frozen_graph", "quantized_graph"):
        yield f"tf/mobilenet_v1_025_128/{name}", graph(
            f"tf/mobilenet_v1_025_128/{name}.pb", "MobilenetV1/Predictions/Reshape_1", input=uniform(1, 128, 128, 3, low=-1))
    for name in ("mtcnn", "mtcnn_1.12"):
        yield f"tf/mtcnn/{name}", graph(
            f"tf/mtcnn/{name}.pb", "prob,landmarks,box", input=exactly(photo("tf/mtcnn/test_image.jpg", 249, 155)),
            min_size=exactly(20), thresholds=exactly([0.6, 0.7, 0.7]), factor=exactly(0.709))
    yield "tf/opencv_face_detector", graph("tf/opencv_face_detector/opencv_face_detector_uint8.pb", "mbox_loc,mbox_conf_flatten",
                                           data=uniform(1, 300, 300, 3, low=-100, high=100))
    yield "tf/rust_regression_tf1_savedmodel", saved("tf/rust_regression_tf1_savedmodel", "tensorflow/serving/regress",
                                                     x=uniform(4), y=uniform(4))
    yield "tf/rust_regression_savedmodel/w", saved("tf/rust_regression_savedmodel", "w")
    yield "tf/tf2onnx_ae0", graph("tf/tf2onnx_ae0/frozen.pb", "output", X=uniform(1, 784))
    yield "tf/tf2onnx_fc-layers", graph("tf/tf2onnx_fc-layers/frozen.pb", "output", X=uniform(2, 784))
    for name in ("gru", "lstm"):
        yield f"tf/tf2onnx_{name}", graph(f"tf/tf2onnx_{name}/frozen.pb", "output", X=uniform(1, 784), keep_prob=exactly(1))
    yield "tf/tf2onnx_regression_graphdef", graph("tf/tf2onnx_regression_graphdef/graphdef/frozen.pb", "pred", X=uniform(1))
    yield "tf/tf2onnx_regression_savedmodel", saved("tf/tf2onnx_regression_savedmodel/saved_model", X=uniform(1))
    node = "tf/tfjs_node_savedmodels"
    yield "tf/tfjs_node/int64_multiply", saved(f"{node}/int64_multiply", x=exactly([3, -4], np.int64))
    yield "tf/tfjs_node/uint8_multiply", saved(f"{node}/uint8_multiply", x=exactly([7], np.uint8))
    yield "tf/tfjs_node/model_multi_output", saved(f"{node}/model_multi_output", x=exactly(5, np.int32), y=exactly(9, np.int32))
    yield "tf/tfjs_node/single_input_multi_output", saved(f"{node}/model_single_input_multi_output", x=exactly(5, np.int32))
    yield "tf/tfpose_mnv2_small", graph("tf/tfpose_mnv2_small/graph_opt.pb", "Openpose/concat_stage7",
                                        image=uniform(1, 64, 48, 3, low=-1))
    yield from onnx_models()


def onnx_models():
    for name, shape in (("bak_ovr", (1, 901, 161)), ("model_v8", (1, 900, 120)), ("sig", (1, 901, 161)), ("sig_bak_ovr", (1, 144160))):
        yield f"onnx/dnsmos/{name}", onnx(f"onnx/dnsmos/{name}.onnx", {"input_1": uniform(*shape, low=-1)})
    yield "onnx/dtln/model_1", onnx("onnx/dtln/model_1.onnx", {"input_2": uniform(1, 1, 257), "input_3": uniform(1, 2, 128, 2)})
    yield "onnx/dtln/model_2", onnx("onnx/dtln/model_2.onnx", {"input_4": uniform(1, 1, 512), "input_5": uniform(1, 2, 128, 2)})
    yield "onnx/super_resolution", onnx("onnx/super_resolution/super_resolution.onnx", {"input": uniform(1, 1, 224, 224)})
    for name, side in (("n_320_320", 320), ("n_dynamic", 96), ("s_320_320", 320), ("s_dynamic", 96)):
        yield f"onnx/yunet/{name}", onnx(f"onnx/yunet/yunet_{name}.onnx", {"input": uniform(1, 3, side, side, high=255)})
    yield "onnx/wonnx_mnist/single_relu", onnx("onnx/wonnx_mnist/single_relu.onnx", {"x": uniform(1, 2, low=-1)})
    yield "onnx/basic_pitch_nmp", onnx("tf/basic_pitch_nmp/nmp.onnx",
                                       {"serving_default_input_2:0": uniform(1, 43844, 1, low=-0.5, high=0.5)})
    yield "onnx/ort_mnist/lr_mnist_scikit", onnx("onnx/ort_mnist/testdata/lr_mnist_scikit.onnx", {"float_input": uniform(1, 780, high=255)})
    yield "onnx/tract_cases/byte_sb_bidi_lstm", onnx("onnx/tract_cases/byte_sb_bidi_lstm/model.onnx",
                                                     {"input": exactly(np.arange(2 * 20).reshape(2, 20) % 97 + 30, np.uint8)})
    for name, width in (("linear_classifier", 12), ("linear_regressor", 21)):
        yield f"onnx/tract_cases/{name}", onnx(f"onnx/tract_cases/{name}/model.onnx", {"input": uniform(1, width, low=-1)})


def run_graph(path, inputs, outputs):
    import tensorflow as tf
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(definition, name="")
        return dict(zip(outputs, session.run([f"{name}:0" for name in outputs],
                                             {f"{name}:0": value for name, value in inputs.items()})))


def run_saved_model(path, inputs, signature):
    import tensorflow as tf
    function = tf.saved_model.load(str(path)).signatures[signature]
    return {name: value.numpy() for name, value in function(**{name: tf.constant(value) for name, value in inputs.items()}).items()}


def run_onnx(path, inputs, _):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return {value.name: result for value, result in zip(session.get_outputs(), session.run(None, inputs)) if isinstance(result, np.ndarray)}


RUNNERS = {"graph": run_graph, "saved_model": run_saved_model, "onnx": run_onnx}
KEPT_VALUES = 4096


def record(name, path, inputs, detail, kind):
    file = REFERENCES / (name.replace("/", "__") + ".npz")
    options = {"graph": lambda: ["--inputs", ",".join(inputs), "--outputs", ",".join(detail)],
               "saved_model": lambda: ["--signature", detail], "onnx": lambda: []}[kind]()
    arrays = {f"{how}:{key}": value for key, (how, value) in inputs.items()}
    arrays |= {"model": np.array(path), "options": np.array(options, "U")}
    if kind == "saved_model":
        arrays["signature"] = np.array(detail)
    np.savez_compressed(file, **arrays)
    outputs = RUNNERS[kind](SHARED / path, read_sample(file).inputs, detail)
    for key, value in outputs.items():
        if value.size <= KEPT_VALUES:
            arrays[f"out:{key}"] = value
        else:
            step = value.size // KEPT_VALUES | 1
            arrays |= {f"part:{key}": value.reshape(-1)[::step], f"shape:{key}": np.array([step, *value.shape])}
    np.savez_compressed(file, **arrays)
    return file.stat().st_size, {key: value.shape for key, value in outputs.items()}


def main():
    REFERENCES.mkdir(exist_ok=True)
    failures = 0
    for name, (path, inputs, detail, kind) in models():
        if sys.argv[1:] and not any(name.startswith(word) for word in sys.argv[1:]):
            continue
        try:
            size, shapes = record(name, path, inputs, detail, kind)
            print(f"{name:44s} {size / 1024:7.1f} kB  {shapes}", flush=True)
        except Exception as error:
            (REFERENCES / (name.replace("/", "__") + ".npz")).unlink(missing_ok=True)
            failures += 1
            print(f"{name:44s} refused: {str(error).splitlines()[0][:160]}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
