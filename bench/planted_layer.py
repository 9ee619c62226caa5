"""Whether a layer that is bad for integers is found: in networks trained here on scikit-learn's data sets one channel is scaled by
1,000 in a layer, and back in the one that reads it, which fp32 does not mind. Writes docs/planted_layers.md: where that layer comes
in the report of `tenon compile`, where in `tenon diff --layers`, and whether `tenon quantize` keeps it in fp32.

    .venv-dev/bin/python bench/planted_layer.py [--output FILE] [--only WORD]
"""
import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

from tool import ROOT, tool

FACTOR, BOUND = 1000, 0.002


def data_sets():
    from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
    digits = load_digits()
    yield "digits", (digits.images / 16).astype(np.float32)[..., None], digits.target
    for name, data in (("breast cancer", load_breast_cancer()), ("wine", load_wine()), ("iris", load_iris())):
        yield name, ((data.data - data.data.mean(0)) / data.data.std(0)).astype(np.float32), data.target


def networks():
    """(name, model, x, y, the bad layer): layers are called layer1, layer2 and so on."""
    import keras
    from keras import layers

    def dense(shape, classes, widths):
        x = inputs = keras.Input(shape, name="x")
        x = layers.Flatten()(x)
        for i, width in enumerate(widths):
            x = layers.Dense(width, activation="relu", name=f"layer{i + 1}")(x)
        return keras.Model(inputs, layers.Dense(classes, activation="softmax", name=f"layer{len(widths) + 1}")(x))

    def convolutions(shape, classes, widths, depthwise=False):
        x = inputs = keras.Input(shape, name="x")
        for i, width in enumerate(widths):
            layer = layers.DepthwiseConv2D if depthwise and i % 2 == 1 else lambda *a, **k: layers.Conv2D(width, *a, **k)
            x = layer(3, padding="same", activation="relu", name=f"layer{i + 1}")(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, layers.Dense(classes, activation="softmax", name=f"layer{len(widths) + 1}")(x))

    sets = {name: (x, y) for name, x, y in data_sets()}
    plans = [("dense", dense, name, widths, bad) for name, widths, bad in (
        ("digits", (64, 64, 32), 2), ("digits", (48, 48, 48, 48), 4), ("breast cancer", (64, 64), 2), ("breast cancer", (32, 32, 32), 3),
        ("wine", (64, 64), 2), ("wine", (32, 32, 32), 3), ("iris", (32, 32), 2), ("iris", (32, 32, 32), 3))]
    plans += [("convolutions", convolutions, "digits", widths, bad) for widths, bad in (
        ((16, 24, 24), 2), ((16, 24, 24, 32), 3), ((24, 24, 24, 24, 24), 5))]
    plans.append(("depthwise", lambda *a: convolutions(*a, depthwise=True), "digits", (24, 24, 32, 32), 3))
    for seed, (kind, make, data, widths, bad) in enumerate(plans):
        keras.utils.set_random_seed(seed + 1)
        x, y = sets[data]
        model = make(x.shape[1:], len(set(y)), widths)
        model.compile(keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=64, epochs=30, verbose=0)
        yield f"{kind} {'-'.join(map(str, widths))} on {data}", model, x, y, bad


def plant(model, bad, x, rng):
    """Scales a channel of what layer `bad` reads; one of those that are not 0 for all of x."""
    import keras
    before, after = model.get_layer(f"layer{bad - 1}"), model.get_layer(f"layer{bad}")
    seen = np.asarray(keras.Model(model.input, before.output)(x[:256]))
    alive = np.flatnonzero(seen.reshape(-1, seen.shape[-1]).mean(axis=0) > 0.1 * seen.mean())
    channel = int(rng.choice(alive))
    weights, bias = before.get_weights()
    out = weights.reshape(-1, seen.shape[-1])  # a view: channels are last, in depthwise ones, too
    out[:, channel] *= FACTOR
    bias[channel] *= FACTOR
    before.set_weights([weights, bias])
    weights, bias = after.get_weights()
    weights[..., channel, :] /= FACTOR
    after.set_weights([weights, bias])


def is_bad(name, bad):
    """Keras may number a layer's name again when it exports it: layer2_1."""
    return re.search(rf"(^|/)layer{bad}(_\d+)?(/|$)", name) is not None


def place(layers, bad):
    """Of the bad layer among those of a report, from 1; 0 where it is not there."""
    return next((i for i, layer in enumerate(layers, 1) if is_bad(layer["name"], bad)), 0)


def measure(model, x, bad, folder):
    model.export(folder / "model", verbose=False)
    np.save(folder / "x.npy", x[:200])
    source = [folder / "model", "--signature", "serving_default", "--calibration", folder / "x.npy"]
    tool("compile", *source, "--precision", "int8", "--force-precision", "--report", folder / "report.json", "-o", folder / "best.tenon")
    report = json.loads((folder / "report.json").read_text())[0]["layers"]
    tool("compile", folder / "model", "--signature", "serving_default", "-o", folder / "fp32.tenon")
    # As it came: nothing that makes the layer good.
    tool("compile", *source, "--precision", "int8", "--force-precision", "--disable", "cross-layer-equalisation", "--disable", "dense-layers",
         "--disable", "first-layer", "--disable", "last-layer", "-o", folder / "int8.tenon")
    compared = json.loads(tool("diff", "--layers", folder / "int8.tenon", folder / "fp32.tenon", "--data", folder / "x.npy",
                               "--json"))[0]["layers"]
    found = json.loads(tool("quantize", *source, "--force-precision", "--metric", "cosine", "--max-drop", BOUND, "--write-config",
                            folder / "found.toml", "-o", folder / "found.tenon", "--json", accepted=(0, 1)))["functions"][0]
    chosen = json.loads(tool("compile", *source, "--precision", "int8", "--force-precision", "--config", folder / "found.toml", "-o",
                             folder / "again.tenon", "--json"))["functions"][0]["quantization"]["layers"]
    in_float = [layer["name"] for layer in chosen if not layer["integer"]]
    return {"report": place(report, bad), "diff": place(compared, bad), "share": report[0]["share"] if report else 0,
            "kept": any(is_bad(name, bad) for name in in_float), "in_float": len(in_float), "layers": len(chosen),
            "all": found["drop_all_integers"], "drop": found["drop"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs/planted_layers.md")
    parser.add_argument("--only", default="", help="networks whose name holds this word: printed, not written")
    arguments = parser.parse_args()
    rng, rows, results = np.random.default_rng(0), [], []
    with tempfile.TemporaryDirectory() as name:
        for index, (what, model, x, _, bad) in enumerate(networks()):
            if arguments.only not in what:
                continue
            folder = Path(name) / str(index)
            folder.mkdir()
            plant(model, bad, x, rng)
            r = measure(model, x, bad, folder)
            results.append(r)
            rows.append(f"| {what} | {bad} of {r['layers']} | {r['report'] or '-'} | {r['diff'] or '-'} | {'yes' if r['kept'] else 'no'} | "
                        f"{r['in_float']} | {r['all']:.2g} | {r['drop']:.2g} |")
            print(rows[-1], flush=True)
    count = lambda what: f"{sum(map(what, results))} of {len(results)}"
    total = (f"First in the report in {count(lambda r: r['report'] == 1)} networks, in `tenon diff` in {count(lambda r: r['diff'] == 1)}; "
             f"kept in fp32 by the search in {count(lambda r: r['kept'])}.")
    print(total, file=sys.stderr)
    if not arguments.only:
        arguments.output.write_text(
            "# A planted bad layer\n\nMade by `bench/planted_layer.py`: networks trained on scikit-learn's data sets, in each of which one channel is "
            "scaled by 1,000 in a layer, and back in the next, the bad one. Its place in the report of `tenon compile --report`, and in "
            "`tenon diff --layers` of files compiled without cross-layer equalisation and second bytes of dense layers, which would mend it, and without the rules for first and last layers; and whether `tenon quantize "
            f"--metric cosine --max-drop {BOUND}` keeps it in fp32.\n\n{total}\n\n"
            "| network | bad layer | place in the report | place in the diff | kept in fp32 | layers in fp32 | drop, all integers | drop, found |\n"
            "|---|--:|--:|--:|--:|--:|--:|--:|\n" + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
