"""INT8 accuracy of Tenon beside ONNX Runtime's static quantiser, OpenVINO's NNCF and LiteRT's converter, on the same models,
calibration data and test data. Writes docs/quantization_accuracy.md.

    .venv-dev/bin/python bench/quantization.py [--models FOLDER] [--work FOLDER] [--output FILE] [--only WORD]

Networks are the digits example, some that are trained here on scikit-learn's data sets, and trained ones of --models, where
that folder is there. What has labels is scored by top-1, the rest by the SQNR of its outputs against each engine's own fp32.
--work keeps the networks that were trained and what was measured with this build of `tenon`: a run that was interrupted goes on
there, and precisions.py takes the same networks from it.
"""
import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

import quantizers  # noqa: E402
from quantization_models import labelled, without_labels  # noqa: E402
from tool import ROOT, Kept, tool  # noqa: E402

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

Test samples that only one of the two has right in INT8, Tenon's first, and how likely a difference as large or larger is by chance
(McNemar's exact test). Where nothing is said both have the same samples right.

{mcnemar_head}
{mcnemar}

## Outputs

Where there are no labels: decibels of signal to what was lost, all outputs together, against the engine's own fp32; more is better.

{outputs_head}
{outputs}

## Refused

{refused}
"""


def mcnemar(only_one, only_other):
    """The probability of a difference as large or larger where each of the samples that one of two alone has right is anyone's."""
    n = only_one + only_other
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(only_one, only_other) + 1)) / 2 ** n)


def mcnemar_cell(results, peer, labels):
    if isinstance(results[peer], str):
        return ""
    ours, theirs = (classes(results[e][1], labels) == labels for e in ("Tenon", peer))
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return f"{only_ours}, {only_theirs}: {mcnemar(only_ours, only_theirs):.2g}" if only_ours + only_theirs else ""


PEERS = ("ONNX Runtime", "NNCF", "LiteRT")


def beside(losses):
    """By peer, in how many networks Tenon lost more samples. Who is right more often than fp32 has lost nothing: it is chance which side
    a sample falls to."""
    lines = []
    for peer in PEERS:
        both = [(name, max(0, lost["Tenon"]), max(0, lost[peer]), n) for name, lost, n in losses if peer in lost]
        worse = [f"{name} ({ours - theirs} of {n:,})" for name, ours, theirs, n in both if ours > theirs]
        better = sum(ours < theirs for _, ours, theirs, _ in both)
        lines.append(f"* {peer}, {len(both)} networks: Tenon lost fewer samples in {better}, more in {len(worse)}"
                     f"{': ' if worse else ''}{', '.join(worse)}.")
    return "Samples lost without search, where being right more often than in fp32 counts as nothing lost:\n\n" + "\n".join(lines)


def table_head(*names):
    return "| " + " | ".join(names) + " |\n|---|" + "--:|" * (len(names) - 1)


def row_of(case, folder):
    """What the page says of a network: its row, that of the samples that only one has right, the peers that refused, samples lost."""
    results, kept, size, small = measure(case, folder)
    refused = [f"* {case.name}, {engine}: `{r.replace(str(folder.parent), '')}`" for engine, r in results.items() if isinstance(r, Refused)]
    said = {"refused": refused}
    if case.labels is None:
        cells = [cell(results[e], lambda pair: f"{sqnr(pair[1], pair[0]):.1f}") for e in ("Tenon", "ONNX Runtime", "NNCF")]
        cells.insert(1, kept[0])
    else:
        drop = lambda pair: (f"{100 * (top1(pair[0], case.labels) - top1(pair[1], case.labels)):+.2f}, "
                             f"{100 * (classes(pair[0], case.labels) != classes(pair[1], case.labels)).mean():.2f}")
        right = lambda outputs: int((classes(outputs, case.labels) == case.labels).sum())
        cells = [f"{top1(outputs, case.labels):.2%}" for outputs in results["Tenon"]]
        cells += [cell(results[e], drop) for e in ("Tenon", "search", *PEERS)]
        cells.insert(3, kept[0])
        cells.insert(5, kept[1])
        said["lost"] = {e: right(r[0]) - right(r[1]) for e, r in results.items() if not isinstance(r, str)}
        said["mcnemar"] = f"| {case.name} | " + " | ".join(mcnemar_cell(results, peer, case.labels) for peer in PEERS) + " |"
    said["samples"] = len(next(iter(case.x.values())))
    said["row"] = f"| {case.name} | {said['samples']:,} | " + " | ".join(cells) + f" | {sizes(size, small)} |"
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=ROOT / "../shared/models")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/quantization_accuracy.md")
    parser.add_argument("--work", type=Path, help="what is kept for a run that goes on, or for precisions.py")
    parser.add_argument("--only", default="", help="networks whose name holds this word: printed, not written")
    arguments = parser.parse_args()
    rows = {}
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        known = Kept(work / "quantization.json")
        for index, case in enumerate([*labelled(arguments.models, work), *without_labels(arguments.models)]):
            if arguments.only not in case.name:
                continue
            folder = work / str(index)  # OpenVINO takes a comma in a path for two paths
            folder.mkdir(exist_ok=True)
            rows[case.name] = known.get(case.name, lambda: row_of(case, folder))
            print(rows[case.name]["row"], flush=True)
    if arguments.only:
        return
    scored = {name: said for name, said in rows.items() if "lost" in said}
    lines = lambda key, of: "\n".join(said[key] for said in of)
    arguments.output.write_text(PAGE.format(
        top1_head=table_head("network", "test samples", "Tenon fp32", "Tenon INT8", "Tenon lost", "in fp32", "with search", "in fp32",
                             "ONNX Runtime lost", "NNCF lost", "LiteRT lost", "fp32 file", "INT8 file"),
        outputs_head=table_head("network", "test samples", "Tenon", "in fp32", "ONNX Runtime", "NNCF", "fp32 file", "INT8 file"),
        mcnemar_head=table_head("network", *PEERS), mcnemar=lines("mcnemar", scored.values()),
        top1=lines("row", scored.values()), beside=beside([(name, said["lost"], said["samples"]) for name, said in scored.items()]),
        outputs=lines("row", (said for said in rows.values() if "lost" not in said)),
        refused="\n".join(line for said in rows.values() for line in said["refused"]) or "None."))


if __name__ == "__main__":
    main()
