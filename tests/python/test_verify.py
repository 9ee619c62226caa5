"""Verification of what is compiled, and the first layer that differs: between builds, and from what TensorFlow gave."""
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tenon

ROOT = Path(__file__).resolve().parents[2]
TENON = Path(os.environ.get("TENON_BUILD", ROOT / "build")) / "bin/tenon"
MLP = ROOT / "tests/fixtures/tf/keras_mlp"
# Every kernel call but the first and the third adds one: the runtime disagrees with the reference.
FICKLE = """
#include "tenon/custom_op.hpp"
using namespace tenon::custom;
static void infer(ShapeCall& c) { c.set_output(0, c.input(0)); }
static void run(KernelCall& c) {
  static int calls = 0;
  const float more = calls++ % 2 == 1 ? 1 : 0;
  for (int64_t i = 0; i < c.elements(0); ++i) c.output<float>(0)[i] = c.input<float>(0)[i] + more;
}
TENON_CUSTOM_OPS(op<infer, run>("Fickle", "", 1, 1, 1))
"""
GRAPH = """
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape" value { shape { dim {
  size: -1 } dim { size: 4 } } } } }
node { name: "block/abs" op: "Abs" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "block/fickle" op: "Fickle" input: "block/abs" attr { key: "T" value { type: DT_FLOAT } } }
node { name: "block/y" op: "Neg" input: "block/fickle" attr { key: "T" value { type: DT_FLOAT } } }
"""


def command(*arguments, status=0, cwd=None):
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == status, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def fickle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fickle")
    (folder / "op.cpp").write_text(FICKLE)
    subprocess.run(["g++", "-std=c++17", "-O1", "-fPIC", "-shared", f"-I{ROOT}/include", folder / "op.cpp", "-o",
                    folder / "libfickle.so"], check=True)
    (folder / "g.pbtxt").write_text(GRAPH)
    return folder


def test_a_small_model_is_verified(tmp_path):
    done = command("compile", MLP / "saved_model", "-o", tmp_path / "m.tenon", "--json")
    entries = json.loads(done.stdout)["verified"]
    assert entries and all(entry["verified"] and entry["relative_l2"] < 1e-5 for entry in entries)
    assert "verified against the reference" in command("compile", MLP / "saved_model", "-o", tmp_path / "m.tenon").stdout
    done = command("compile", MLP / "saved_model", "-o", tmp_path / "m.tenon", "--json", "--no-verify")
    assert json.loads(done.stdout)["verified"] == []


def test_a_mismatch_is_refused_with_the_first_node_and_a_reproducer(fickle, tmp_path):
    arguments = ("compile", fickle / "g.pbtxt", "--custom-ops", fickle / "libfickle.so", "-o", "m.tenon")
    done = command(*arguments, status=70, cwd=tmp_path)
    for word in ("block/y", "differs from the reference", "node 'block/fickle', the first that differs", "repro.tn",
                 "--no-verify"):
        assert word in done.stderr
    assert "graph @" in (tmp_path / "repro.tn").read_text()
    assert not (tmp_path / "m.tenon").exists()
    command(*arguments, "--no-verify", cwd=tmp_path)
    with pytest.raises(tenon.Error) as error:
        tenon.compile(fickle / "g.pbtxt", custom_ops=fickle / "libfickle.so")
    assert error.value.code == "internal"
    (ROOT / "repro.tn").unlink(missing_ok=True)
    Path("repro.tn").unlink(missing_ok=True)
    tenon.compile(fickle / "g.pbtxt", custom_ops=fickle / "libfickle.so", verify=False)


def test_a_large_model_is_passed_over(tmp_path):
    (tmp_path / "big.tn").write_text("""graph @main (%x: f32[?n,4096]) {
  %w = const splat(0.5) : f32[4096,4096]
  %a = matmul(%x, %w)
  %b = matmul(%a, %w)
  %c = matmul(%b, %w)
  %d = matmul(%c, %w)
  %e = matmul(%d, %w)
  %f = matmul(%e, %w)
  %g = matmul(%f, %w)
  %h = matmul(%g, %w)
  %i = matmul(%h, %w)
  %j = matmul(%i, %w)
  %k = matmul(%j, %w)
  %l = matmul(%k, %w)
  %m = matmul(%l, %w)
  %n = matmul(%m, %w)
  %o = matmul(%n, %w)
  %p = matmul(%o, %w)
  return (%p)
}
""")
    done = command("compile", tmp_path / "big.tn", "-o", tmp_path / "m.tenon")
    assert "not verified: the reference would take about" in done.stdout and "--verify" in done.stdout


def test_on_given_inputs(tmp_path):
    with np.load(MLP / "io.npz") as io:
        inputs = {name[3:]: io[name] for name in io if name.startswith("in:")}
    np.savez(tmp_path / "x.npz", **inputs)
    done = command("compile", MLP / "saved_model", "-o", tmp_path / "m.tenon", "--verify-inputs", tmp_path / "x.npz")
    assert "verified" in done.stdout
    tenon.compile(MLP / "saved_model", verify_inputs=tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "packed.npz", **inputs)
    tenon.compile(MLP / "saved_model", verify_inputs=tmp_path / "packed.npz")
    damaged = bytearray((tmp_path / "packed.npz").read_bytes())
    damaged[len(damaged) // 3] ^= 0xFF
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(tenon.Error, match="does not unpack"):
        tenon.compile(MLP / "saved_model", verify_inputs=tmp_path / "damaged.npz")
    wrong = {name: array.astype(np.float64) for name, array in inputs.items()}
    np.savez(tmp_path / "wrong.npz", **wrong)
    done = command("compile", MLP / "saved_model", "-o", tmp_path / "n.tenon", "--verify-inputs", tmp_path / "wrong.npz",
                   status=1)
    assert "f64" in done.stderr and not (tmp_path / "n.tenon").exists()


def test_random_numbers_are_no_mismatch(tmp_path):
    (tmp_path / "r.tn").write_text("""graph @main (%x: f32[4]) {
  %shape = const dense<[4]> : i64[1]
  %r = random_uniform(%shape)
  %y = add(%x, %r)
  return (%y)
}
""")
    done = command("compile", tmp_path / "r.tn", "-o", tmp_path / "m.tenon")
    assert "not verified: it draws random numbers" in done.stdout


# --- recorded layers ---

@pytest.fixture(scope="module")
def recorded():
    """Layers of keras_mlp as TensorFlow computed them, by its names of the nodes, with the inputs."""
    with np.load(ROOT / "tests/fixtures/layers/keras_mlp.npz") as layers:
        return dict(layers)


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    return tenon.compile(MLP / "saved_model", tmp_path_factory.mktemp("mlp") / "mlp.tenon")


@pytest.mark.parametrize("way", [("run", "--compare"), ("diff",)])
def test_layers_recorded_from_tensorflow(way, recorded, mlp, tmp_path):
    np.savez(tmp_path / "r.npz", **recorded)
    arguments = ("run", mlp, "--compare", tmp_path / "r.npz") if way[0] == "run" else ("diff", mlp, tmp_path / "r.npz")
    done = command(*arguments)
    assert done.stdout.count("same") >= 3 and "DIFFER" not in done.stdout
    names = [name for name in recorded if name.endswith(("Tanh", "Softmax"))]
    assert len(names) == 2
    broken = {name: array + 1 if name in names else array for name, array in recorded.items()}
    np.savez(tmp_path / "r.npz", **broken)
    done = command(*arguments, status=1)
    assert f"node '{names[0]}', the first that differs" in done.stderr
    # A subset, and a name that is nowhere.
    kept = {name: array for name, array in recorded.items() if "/" not in name}
    np.savez(tmp_path / "r.npz", **kept, **{names[1]: broken[names[1]], "nowhere/Relu": np.zeros(3)})
    done = command(*arguments, status=1)
    assert "'nowhere/Relu'" in done.stderr and f"node '{names[1]}'" in done.stderr


def test_layers_of_two_builds(tmp_path):
    text = """graph @main (%x: f32[2,3]) {
  %a = abs(%x) from "first"
  %k = const splat(FACTOR) : f32[3] from "factor"
  %b = mul(%a, %k) from "second"
  %s = softmax(%b) {axis=1} from "third"
  return (%s "y")
}
"""
    for name, factor in (("a", "2"), ("b", "3")):
        (tmp_path / f"{name}.tn").write_text(text.replace("FACTOR", factor))
        command("compile", tmp_path / f"{name}.tn", "-o", tmp_path / f"{name}.tenon")
    done = command("diff", tmp_path / "a.tenon", tmp_path / "b.tenon", status=1)
    assert "the first layer that differs: second" in done.stderr
    done = command("diff", tmp_path / "a.tn", tmp_path / "b.tn", "--layers", status=1)
    assert "DIFFER layer second" in done.stdout and "same   layer first" in done.stdout


@pytest.mark.parametrize("content, word", [
    (b"hello", "not a .npz"), (b"PK\x05\x06" + bytes([0, 0, 0, 0, 9, 0, 9, 0]) + bytes(10), "damaged")])
def test_damaged_archives(content, word, mlp, tmp_path):
    (tmp_path / "r.npz").write_bytes(content)
    assert word in command("run", mlp, "--compare", tmp_path / "r.npz", status=1).stderr


def test_compressed_archive(mlp, tmp_path):
    with np.load(MLP / "io.npz") as io:
        np.savez_compressed(tmp_path / "r.npz", **{name.split(":")[-1]: io[name] for name in io if ":" in name})
    assert "same " in command("run", mlp, "--compare", tmp_path / "r.npz").stdout
