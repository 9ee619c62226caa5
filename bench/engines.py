"""How each engine loads and runs a model of make_models.py. One class per engine: the constructor loads, `run`
computes once and gives {key: array}, keys as in io.npz. An engine's `modules` are imported for it alone, so that
nothing else is in the process."""
import importlib
import os
from pathlib import Path


class Tenon:
    modules = ("tenon",)
    def __init__(self, source, inputs, threads):
        import tenon
        self.version = tenon.__version__
        self.runner = tenon.Runner(source, threads=threads)
        self.inputs = inputs

    def run(self):
        return self.runner.run(self.inputs)


class OnnxRuntime:
    modules = ("onnxruntime",)
    source, int8 = "model.onnx", "model.int8.onnx"

    def __init__(self, source, inputs, threads):
        import onnxruntime
        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        self.inputs = inputs
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self):
        return dict(zip(self.names, self.session.run(None, self.inputs)))


class OnnxRuntimeDynamic(OnnxRuntime):
    """Activations are quantised as they come: the faster of ONNX Runtime's two ways for some models."""
    source, int8 = None, "model.int8_dynamic.onnx"


class OpenVino:
    modules = ("openvino",)
    source, int8 = "saved_model", "model.int8.xml"

    def __init__(self, source, inputs, threads):
        import openvino
        self.version = openvino.__version__
        core = openvino.Core()
        model = core.read_model(str(source))
        by_name = {self.key(port, inputs): port for port in model.inputs}
        model.reshape({port: list(inputs[name].shape) for name, port in by_name.items()})
        precision = "bf16" if os.environ.get("BENCH_PRECISION") == "bf16" else "f32"
        compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads,
                                                     "INFERENCE_PRECISION_HINT": precision})
        self.request = compiled.create_infer_request()
        self.inputs = {compiled.inputs[model.inputs.index(port)]: inputs[name] for name, port in by_name.items()}
        self.outputs = [min(port.get_names(), key=len).split(":")[0] for port in compiled.outputs]

    @staticmethod
    def key(port, inputs):
        """OpenVINO keeps several names for a port; one is the signature's key."""
        return next((name for name in inputs if name in port.get_names()), next(iter(inputs)))

    def run(self):
        results = self.request.infer(self.inputs, share_inputs=True, share_outputs=True)
        return dict(zip(self.outputs, results.values()))


class LiteRt:
    modules = ("ai_edge_litert.interpreter",)
    source, int8 = "model.tflite", "model.int8.tflite"

    def __init__(self, source, inputs, threads):
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter
        self.version = getattr(ai_edge_litert, "__version__", "")
        self.interpreter = Interpreter(str(source), num_threads=threads)
        details = self.interpreter.get_input_details()
        ports = {next((name for name in inputs if name in port["name"]), next(iter(inputs))): port["index"] for port in details}
        for name, index in ports.items():
            self.interpreter.resize_tensor_input(index, inputs[name].shape)
        self.interpreter.allocate_tensors()
        self.feeds = [(index, inputs[name]) for name, index in ports.items()]
        self.outputs = [(port["name"], port["index"]) for port in self.interpreter.get_output_details()]

    def run(self):
        for index, value in self.feeds:
            self.interpreter.set_tensor(index, value)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self.outputs}


class Mnn:
    modules = ("MNN.expr", "MNN.nn")
    source, int8 = "model.mnn", "model.int8.mnn"

    def __init__(self, source, inputs, threads):
        from MNN import expr, nn
        # Normal precision lets it round to 16 bits; "low" memory computes with the 8-bit weights that the file holds.
        memory = "low" if source.name == self.int8 else "normal"
        self.runtime = nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high", "memory": memory},))
        self.module = nn.load_module_from_file(str(source), [], [], runtime_manager=self.runtime)
        facts = self.module.get_info()
        self.version, self.names = facts["version"], facts["outputNames"]
        types = {"f": expr.float, "i": expr.int}
        self.inputs = [expr.const(inputs[name], list(inputs[name].shape), expr.NCHW, types[inputs[name].dtype.kind])
                       for name in facts["inputNames"]]

    def run(self):
        return dict(zip(self.names, (output.read() for output in self.module.forward(self.inputs))))


class TensorFlow:
    modules = ("tensorflow",)
    source, int8 = "saved_model", None

    def __init__(self, source, inputs, threads):
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import tensorflow
        self.version = tensorflow.__version__
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        self.model = tensorflow.saved_model.load(str(source))
        self.function = self.model.signatures["serving_default"]
        self.inputs = {name: tensorflow.constant(value) for name, value in inputs.items()}

    def run(self):
        return {name: value.numpy() for name, value in self.function(**self.inputs).items()}


def import_engine(name):
    """Imports what the engine needs, and makes no model yet."""
    for module in ENGINES[name].modules:
        importlib.import_module(module)


ENGINES = {"tenon": Tenon, "ort": OnnxRuntime, "ort-dynamic": OnnxRuntimeDynamic, "openvino": OpenVino, "litert": LiteRt,
           "mnn": Mnn, "tensorflow": TensorFlow}


def engines_of(precision):
    """Names of those that have a form of a precision."""
    form = "int8" if precision.startswith("int8") else "source"
    return [name for name, engine in ENGINES.items() if name == "tenon" or getattr(engine, form)]


def source_of(engine, folder, tenon_folder, precision):
    """The file or folder an engine loads."""
    folder = Path(folder)
    if engine == "tenon":
        return Path(tenon_folder) / f"{folder.name}.tenon"
    return folder / (ENGINES[engine].int8 if precision.startswith("int8") else ENGINES[engine].source)


def missing_source(source):
    """Why there is nothing to load, or nothing."""
    if source.exists():
        return ""
    refusal = source.with_name(source.name + ".failed")
    return refusal.read_text().strip().splitlines()[0] if refusal.exists() else f"no {source}"
