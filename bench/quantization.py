"""INT8 accuracy of Tenon beside ONNX Runtime's static quantiser, OpenVINO's NNCF and LiteRT's converter, on the same models,
calibration data and test data. Writes docs/quantization_accuracy.md.

    .venv-dev/bin/python bench/quantization.py [--models FOLDER] [--output FILE] [--only WORD]

Networks are the digits example, some that are trained here on scikit-learn's data sets, and trained ones of --models, where
that folder is there. What has labels is scored by top-1, the rest by the SQNR of its outputs against each engine's own fp32.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

import quantizers  # noqa: E402
from quantization_models import labelled, without_labels  # noqa: E402
from tool import ROOT, tool  # noqa: E402

sys.path.insert(0, str(ROOT / "build/python"))
import tenon as package  # noqa: E402


def classes(outputs, labels):
    return np.asarray(outputs[0]).reshape(len(labels), -1).argmax(axis=1)


def top1(outputs, labels):
    return float((classes(outputs, labels) == labels).mean())


def sqnr(outputs, exact):
    """Decibels of all outputs together."""
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(outputs, exact))
    power = sum(float((b.astype(np.float64) ** 2).sum()) for b in exact)
    return 10 * np.log10(power / max(error, 1e-30))


def collect(rows, run):
    parts = [run(row) for row in rows]
    return [np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(len(parts[0]))]


def calibration_file(case, folder):
    """The calibration data under the names that the model in fp32 has for its inputs."""
    names = [port.name.split(":")[0] for port in package.Runner(folder / "fp32.tenon").inputs]
    file = folder / "calibration.npz"
    np.savez(file, **{names[0] if not name else name: v for name, v in case.calibration.items()})
    return file


def outputs_of(case, file):
    runner = package.Runner(file)
    names = [port.name for port in runner.inputs]
    return collect(case.rows(case.x, names), lambda row: list(runner.run(row).values()))


def tenon(case, folder, precision="fp32", *options):
    """Outputs, file and layers kept in fp32 of a precision; fp32 comes first, and says what the inputs are called."""
    file = folder / f"{precision}.tenon"
    if precision.startswith("int8") and precision not in ("int8_dynamic", "int8_weights"):
        options = [*options, "--calibration", calibration_file(case, folder)]
    said = json.loads(tool("compile", case.model, "-o", file, "--no-verify", "--json", "--precision", precision, *case.cut(), *options))
    layers = [layer for f in said["functions"] for layer in f.get("quantization", {}).get("layers", [])]
    return outputs_of(case, file), file, f"{sum(not layer['integer'] for layer in layers)} of {len(layers)}"


def searched(case, folder):
    """Outputs of what the search finds within 0.2 points on the calibration data, how many layers it kept in fp32 of how many,
    and whether it stayed within the bound."""
    file = folder / "searched.tenon"
    said = tool("quantize", case.model, *case.cut(), "--calibration", calibration_file(case, folder), "--max-drop", "0.2%", "--metric",
                "top1", "--force-precision", "-o", file, "--json", accepted=(0, 1))
    functions = json.loads(said)["functions"]
    kept, layers = sum(len(f["fp32"]) for f in functions), sum(f["layers"] for f in functions)
    return outputs_of(case, file), f"{kept} of {layers}" + ("" if all(f["feasible"] for f in functions) else ", closest")


def onnx_file(case, folder):
    """The model as ONNX, by tf2onnx where it is none."""
    if case.model.suffix == ".onnx":
        return case.model
    path = folder / "converted.onnx"
    source = ["--saved-model", case.model]
    if case.ends is not None:
        source = ["--graphdef", case.model, "--inputs", f"{case.ends[0]}:0", "--outputs", f"{case.ends[1]}:0"]
    done = subprocess.run([sys.executable, "-m", "tf2onnx.convert", *source, "--output", path, "--opset", "15"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("tf2onnx: " + done.stderr.strip())
    spell_erfc(path)
    return path


def spell_erfc(path):
    """tf2onnx passes Keras' Erfc on, which ONNX does not have: as 1 - Erf."""
    import onnx
    model = onnx.load(str(path))
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Erfc":
            erf = node.output[0] + "/erf"
            nodes.append(onnx.helper.make_node("Erf", node.input, [erf]))
            node = onnx.helper.make_node("Sub", ["one_of_erfc", erf], node.output)
        nodes.append(node)
    if len(nodes) > len(model.graph.node):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1), "one_of_erfc"))
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        onnx.save(model, str(path))


def onnx_runtime(case, folder, path):
    if path is None:
        return "not tried"
    import onnxruntime

    def session(file):
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    names = [i.name for i in session(path).get_inputs()]

    quantizers.onnx_static(path, folder / "ort.onnx", case.rows(case.calibration, names))
    run = lambda s: collect(case.rows(case.x, names), lambda row: s.run(None, row))
    return run(session(path)), run(session(folder / "ort.onnx"))


def nncf(case, folder, path):
    import openvino
    core = openvino.Core()
    model = openvino.convert_model(str(path or case.model))
    names = [next(iter(p.get_names())) for p in model.inputs]
    if "" not in case.x:
        names = [next((n for n in p.get_names() if n.split(":")[0] in case.x), n) for p, n in zip(model.inputs, names)]
    integers = quantizers.openvino_nncf(model, case.rows(case.calibration, names))

    def run(m):
        compiled = core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
        return collect(case.rows(case.x, names), lambda row: list(compiled(row).values()))

    return run(model), run(integers)


def litert(case):
    if case.keras is None:
        return "not tried"
    import tensorflow as tf

    def run(integers):
        converter = tf.lite.TFLiteConverter.from_keras_model(case.keras)
        samples = [[x[None]] for x in case.calibration[""]]
        content = quantizers.litert_integers(converter, samples) if integers else converter.convert()
        interpreter = tf.lite.Interpreter(model_content=content)
        interpreter.allocate_tensors()
        place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def once(row):
            interpreter.set_tensor(place, row["x"])
            interpreter.invoke()
            return [interpreter.get_tensor(result)]
        return collect(case.rows(case.x, ["x"]), once)

    return run(False), run(True)


class Refused(str):
    """What a peer said instead of a result."""


def attempt(what, *arguments):
    try:
        return what(*arguments)
    except Exception as error:  # noqa: BLE001
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Refused(f"{type(error).__name__}: {lines[-1] if lines else ''}"[:200])


def measure(case, folder):
    """(fp32, int8) outputs by engine, or a word why there are none; the layers in fp32, without and with search; the two file sizes."""
    exact, file, _ = tenon(case, folder)
    integers, small, kept_alone = tenon(case, folder, "int8", "--force-precision")
    path = attempt(onnx_file, case, folder)
    results = {"Tenon": (exact, integers), "ONNX Runtime": path if isinstance(path, Refused) else attempt(onnx_runtime, case, folder, path),
               "NNCF": attempt(nncf, case, folder, None if isinstance(path, Refused) else path), "LiteRT": attempt(litert, case)}
    kept = ""
    if case.labels is not None:
        outputs, kept = searched(case, folder)
        results["search"] = (exact, outputs)
    return results, (kept_alone, kept), file.stat().st_size, small.stat().st_size


def cell(result, score):
    if isinstance(result, Refused):
        return "refused"
    return result if isinstance(result, str) else score(result)


def sizes(fp32, int8):
    within = "" if int8 <= 0.27 * fp32 + 100_000 else ", beyond"
    return f"{fp32:,} | {int8:,} ({int8 / fp32:.0%}{within})"


PAGE = """# INT8 accuracy

Made by `bench/quantization.py`, quantised with the same calibration data; Tenon with `--force-precision`, so that no layer stays in fp32
for the time it takes; "in fp32": how many do for what would be lost (first and last layers only, unless the search found them), or cannot
be of integers. ONNX Runtime: `quantize_static`, per channel, u8 activations; TensorFlow models through tf2onnx. NNCF: `nncf.quantize`,
run by OpenVINO. LiteRT: the converter's full integer quantisation, of Keras models. "not tried": the script has no way to give the model
to that tool; "refused": the tool ended with the error that is listed at the end. Behind an INT8 file is its share of the fp32 one,
and "beyond" where it is more than 27 % of that and 100 kB.

## Top-1

Points lost against the engine's own fp32 (negative: INT8 was right more often), and behind them what part of the test samples got
another class than in fp32, in per cent: how near INT8 is to fp32, whoever is right. With search: `tenon quantize --max-drop 0.2% --metric
top1` on the calibration data. Keywords: two recordings, shifted, made louder and softer, and with
noise. Of the 5,000 pictures of MNIST the first 200 calibrate.

{top1_head}
{top1}

{beside}

## Outputs

Where there are no labels: decibels of signal to what was lost, all outputs together, against the engine's own fp32; more is better.

{outputs_head}
{outputs}

## Refused

{refused}
"""


def beside(losses):
    """By peer, in how many networks Tenon lost more samples. Who is right more often than fp32 has lost nothing: it is chance which side
    a sample falls to."""
    lines = []
    for peer in ("ONNX Runtime", "NNCF", "LiteRT"):
        both = [(name, max(0, lost["Tenon"]), max(0, lost[peer]), n) for name, lost, n in losses if peer in lost]
        worse = [f"{name} ({ours - theirs} of {n:,})" for name, ours, theirs, n in both if ours > theirs]
        better = sum(ours < theirs for _, ours, theirs, _ in both)
        lines.append(f"* {peer}, {len(both)} networks: Tenon lost fewer samples in {better}, more in {len(worse)}"
                     f"{': ' if worse else ''}{', '.join(worse)}.")
    return "Samples lost without search, where being right more often than in fp32 counts as nothing lost:\n\n" + "\n".join(lines)


def table_head(*names):
    return "| " + " | ".join(names) + " |\n|---|" + "--:|" * (len(names) - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/quantization_accuracy.md")
    parser.add_argument("--only", default="", help="networks whose name holds this word: printed, not written")
    arguments = parser.parse_args()
    top, others, refused, losses = [], [], [], []
    drop = lambda pair, labels: (f"{100 * (top1(pair[0], labels) - top1(pair[1], labels)):+.2f}, "
                                 f"{100 * (classes(pair[0], labels) != classes(pair[1], labels)).mean():.2f}")
    with tempfile.TemporaryDirectory() as name:
        trained_here = Path(name) / "trained"
        trained_here.mkdir()
        for index, case in enumerate([*labelled(arguments.models, trained_here), *without_labels(arguments.models)]):
            if arguments.only not in case.name:
                continue
            folder = Path(name) / str(index)  # OpenVINO takes a comma in a path for two paths
            folder.mkdir()
            results, kept, size, small = measure(case, folder)
            refused += [f"* {case.name}, {engine}: `{r.replace(name, '')}`" for engine, r in results.items() if isinstance(r, Refused)]
            count = f"{len(next(iter(case.x.values()))):,}"
            if case.labels is not None:
                cells = [f"{top1(outputs, case.labels):.2%}" for outputs in results["Tenon"]]
                engines = ("Tenon", "search", "ONNX Runtime", "NNCF", "LiteRT")
                cells += [cell(results[e], lambda pair: drop(pair, case.labels)) for e in engines]
                right = lambda outputs: int((classes(outputs, case.labels) == case.labels).sum())
                losses.append((case.name, {e: right(r[0]) - right(r[1]) for e, r in results.items() if not isinstance(r, str)}, len(case.labels)))
                cells.insert(3, kept[0])
                cells.insert(5, kept[1])
                rows = top
            else:
                cells = [cell(results[e], lambda pair: f"{sqnr(pair[1], pair[0]):.1f}") for e in ("Tenon", "ONNX Runtime", "NNCF")]
                cells.insert(1, kept[0])
                rows = others
            rows.append(f"| {case.name} | {count} | " + " | ".join(cells) + f" | {sizes(size, small)} |")
            print(rows[-1], flush=True)
    if not arguments.only:
        arguments.output.write_text(PAGE.format(
            top1_head=table_head("network", "test samples", "Tenon fp32", "Tenon INT8", "Tenon lost", "in fp32", "with search", "in fp32",
                                 "ONNX Runtime lost", "NNCF lost", "LiteRT lost", "fp32 file", "INT8 file"),
            outputs_head=table_head("network", "test samples", "Tenon", "in fp32", "ONNX Runtime", "NNCF", "fp32 file", "INT8 file"),
            top1="\n".join(top), beside=beside(losses), outputs="\n".join(others), refused="\n".join(refused) or "None."))


if __name__ == "__main__":
    main()
