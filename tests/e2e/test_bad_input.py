"""Damaged and absurd models and wrong inputs through the command line: one clear error that names the place and
the way out, the right exit status, bounded memory, nothing half-written, nothing of the user's changed."""
import hashlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TENON_BUILD", ROOT / "build"))
TENON = BUILD / "bin/tenon"
FIXTURES = ROOT / "tests/fixtures"
SHARDED = FIXTURES / "tf/flow_sharded_variables/saved_model"
MLP = FIXTURES / "tf/keras_mlp/saved_model"
CNN = FIXTURES / "onnx/cnn_opset13/model.onnx"
FROZEN = FIXTURES / "tf/v1_cnn_frozen/model.pb"
HUGE = 1 << 40
SECONDS = 60


def size_of(path):
    path = Path(path)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file())


def tenon(*arguments, status, model=None, prefix=()):
    """Runs the command and checks its exit status and memory; what it wrote to stderr."""
    with subprocess.Popen([*prefix, TENON, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="backslashreplace") as process:
        try:
            _, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    allowed = status if isinstance(status, tuple) else (status,)
    assert process.returncode in allowed, errors
    # The largest of all children so far: the bound is for each.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    if model is not None:
        assert peak < 2 * size_of(model) + (512 << 20)
    return errors


def refuses(model, *words, options=(), folder):
    """Compiles a model that cannot be: every word is in the error, and no file is left."""
    out = folder / "out"
    out.mkdir()
    errors = tenon("compile", model, "-o", out / "model.tenon", *options, status=1, model=model)
    for word in words:
        assert word in errors
    assert errors.startswith("tenon: ")
    assert list(out.iterdir()) == []


# --- models as text ---

def placeholder(name, dtype="DT_FLOAT", dims=(2,)):
    shape = " ".join(f"dim {{ size: {d} }}" for d in dims)
    return (f'node {{ name: "{name}" op: "Placeholder" attr {{ key: "dtype" value {{ type: {dtype} }} }} '
            f'attr {{ key: "shape" value {{ shape {{ {shape} }} }} }} }}\n')


def const(name, dtype, values, dims=()):
    shape = " ".join(f"dim {{ size: {d} }}" for d in dims)
    return (f'node {{ name: "{name}" op: "Const" attr {{ key: "dtype" value {{ type: {dtype} }} }} attr {{ key: "value" '
            f'value {{ tensor {{ dtype: {dtype} tensor_shape {{ {shape} }} {values} }} }} }} }}\n')


def node(name, op, *inputs, attrs='attr { key: "T" value { type: DT_FLOAT } }'):
    sources = " ".join(f'input: "{i}"' for i in inputs)
    return f'node {{ name: "{name}" op: "{op}" {sources} {attrs} }}\n'


GRAPHS = {
    "cycle": (placeholder("x") + node("block/a", "AddV2", "x", "block/b") + node("block/b", "Relu", "block/a"),
              ["block/b", "cycle"], ["--outputs", "block/b"]),
    "unknown op": (placeholder("x") + node("block/odd", "Frobnicate", "x"),
                   ["'block/odd' (Frobnicate)", "--outputs"], []),
    "type clash": (placeholder("x") + placeholder("n", "DT_INT32") + node("block/sum", "AddV2", "x", "n"),
                   ["'block/sum' (AddV2)", "f32[2]", "i32[2]"], []),
    "shape clash": (placeholder("x") + placeholder("z", dims=(3,)) + node("block/sum", "AddV2", "x", "z"),
                    ["'block/sum' (AddV2)", "[2]", "[3]"], []),
    "undefined input": (placeholder("x") + node("block/relu", "Relu", "ghost"), ["'block/relu' (Relu)", "'ghost'"], []),
    "too few inputs": (placeholder("x") + node("block/conv", "Conv2D", "x"), ["'block/conv' (Conv2D)", "2"], []),
    "huge placeholder": (placeholder("x", dims=(HUGE, HUGE)) + node("block/relu", "Relu", "x"),
                         ["'block/relu' (Relu)", str(HUGE), "--input-shape"], []),
    "huge fill": (placeholder("x", dims=(1,)) + const("dims", "DT_INT64", f"int64_val: {HUGE}", (1,)) +
                  const("one", "DT_FLOAT", "float_val: 1") + node("block/fill", "Fill", "dims", "one") +
                  node("block/sum", "AddV2", "block/fill", "x"), ["'block/fill' (Fill)", str(HUGE)], []),
    "huge constant": (placeholder("x", dims=(1,)) + const("block/w", "DT_FLOAT", "float_val: 1", (HUGE,)) +
                      node("block/sum", "AddV2", "block/w", "x"), ["block/w", "larger than a tensor can be"], []),
    "zero stride": (placeholder("x", dims=(1, 8, 8, 1)) + const("w", "DT_FLOAT", "float_val: 1", (3, 3, 1, 1)) +
                    node("block/conv", "Conv2D", "x", "w",
                         attrs='attr { key: "T" value { type: DT_FLOAT } } attr { key: "padding" value { s: "SAME" } } '
                               'attr { key: "strides" value { list { i: 1 i: 0 i: 0 i: 1 } } }'),
                    ["'block/conv' (Conv2D)", "stride"], []),
    "no such output": (placeholder("x") + node("block/relu", "Relu", "x"), ["ghost"], ["--outputs", "ghost"]),
    "no such input": (placeholder("x") + node("block/relu", "Relu", "x"), ["ghost"], ["--inputs", "ghost"]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name, tmp_path):
    text, words, options = GRAPHS[name]
    model = tmp_path / "graph.pbtxt"
    model.write_text(text)
    refuses(model, *words, options=options, folder=tmp_path)


# --- ONNX, written field by field ---

def varint(value):
    data = b""
    while value >= 128:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_value(name, dims, element=1):
    shape = b"".join(field(1, field(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, element) + field(2, shape)))


def onnx_node(op, inputs, outputs, name):
    return b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in outputs) + field(3, name) + field(4, op)


def onnx_model(nodes, inputs=(), initializers=(), output="y", opset=17):
    graph = b"".join(field(1, n) for n in nodes) + field(2, "g") + b"".join(field(5, t) for t in initializers)
    graph += b"".join(field(11, v) for v in inputs) + field(12, field(1, output))
    return field(1, 8) + field(7, graph) + field(8, field(2, opset))


X = onnx_value("x", (2,))
EXTERNAL = (field(1, 4) + field(2, 1) + field(8, "w") + field(14, 1) +
            field(13, field(1, "location") + field(2, "weights.bin")))
ONNX = {
    "cycle": (onnx_model([onnx_node("Add", ["x", "b"], ["a"], "block/a"), onnx_node("Relu", ["a"], ["b"], "block/b"),
                          onnx_node("Relu", ["b"], ["y"], "last")], [X]), ["block/", "cycle"]),
    "unknown op": (onnx_model([onnx_node("Frobnicate", ["x"], ["y"], "block/odd")], [X]), ["block/odd", "--outputs"]),
    "type clash": (onnx_model([onnx_node("Add", ["x", "n"], ["y"], "block/sum")], [X, onnx_value("n", (2,), 6)]),
                   ["block/sum", "f32[2]", "i32[2]"]),
    "undefined input": (onnx_model([onnx_node("Relu", ["ghost"], ["y"], "block/relu")], [X]), ["block/relu", "ghost"]),
    "too few inputs": (onnx_model([onnx_node("Conv", ["x"], ["y"], "block/conv")], [X]), ["block/conv", "2"]),
    "huge input": (onnx_model([onnx_node("Relu", ["x"], ["y"], "block/relu")], [onnx_value("x", (HUGE, HUGE))]),
                   ["block/relu", str(HUGE)]),
    "huge initializer": (onnx_model([onnx_node("Add", ["x", "w"], ["y"], "block/sum")], [X],
                                    [field(1, HUGE) + field(2, 1) + field(8, "w") + field(9, b"1234")]), ["'w'", "limit"]),
    "external data nowhere": (onnx_model([onnx_node("Add", ["x", "w"], ["y"], "block/sum")], [X],
                                         [EXTERNAL + field(13, field(1, "offset") + field(2, ""))]), ["offset", "not a number"]),
    "no external data": (onnx_model([onnx_node("Add", ["x", "w"], ["y"], "block/sum")], [X], [EXTERNAL]),
                         ["weights.bin"]),
}


@pytest.mark.parametrize("name", ONNX)
def test_onnx(name, tmp_path):
    content, words = ONNX[name]
    model = tmp_path / "model.onnx"
    model.write_bytes(content)
    refuses(model, *words, folder=tmp_path)


# --- damaged files ---

@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("source", [CNN, FROZEN, MLP / "saved_model.pb"], ids=["onnx", "graph", "saved_model"])
def test_truncated(source, share, tmp_path):
    content = source.read_bytes()
    model = tmp_path / source.name
    if source.parent == MLP:
        shutil.copytree(MLP, tmp_path / "model")
        model = tmp_path / "model/saved_model.pb"
    model.write_bytes(content[:int(len(content) * share)])
    refuses(model if model.parent == tmp_path else model.parent, model.name, folder=tmp_path)


@pytest.mark.parametrize("source", [CNN, FROZEN, SHARDED], ids=["onnx", "graph", "saved_model"])
def test_flipped_bits(source, tmp_path):
    """Any verdict will do, but a verdict."""
    rng = random.Random(5)
    files = [source] if source.is_file() else [f for f in sorted(source.rglob("*")) if f.is_file()]
    for _ in range(12):
        victim = rng.choice(files)
        content = bytearray(victim.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        model = tmp_path / source.name
        if source.is_dir():
            shutil.rmtree(model, ignore_errors=True)
            shutil.copytree(source, model)
            (model / victim.relative_to(source)).write_bytes(content)
        else:
            model.write_bytes(content)
        tenon("compile", model, "-o", tmp_path / "model.tenon", status=(0, 1), model=model)


@pytest.fixture
def sharded(tmp_path):
    return Path(shutil.copytree(SHARDED, tmp_path / "sharded"))


def test_missing_shard(sharded, tmp_path):
    (sharded / "variables/variables.data-00001-of-00003").unlink()
    refuses(sharded, "variables.data-00001-of-00003", "missing", "copy the whole variables folder", "node '",
            folder=tmp_path)


def test_cut_shard(sharded, tmp_path):
    os.truncate(sharded / "variables/variables.data-00002-of-00003", 10)
    refuses(sharded, "variables.data-00002-of-00003", "10 bytes", folder=tmp_path)


def test_damaged_weights(sharded, tmp_path):
    shard = sharded / "variables/variables.data-00001-of-00003"
    content = bytearray(shard.read_bytes())
    content[8] ^= 1
    shard.write_bytes(content)
    refuses(sharded, shard.name, "checksum", folder=tmp_path)


def test_missing_variables(sharded, tmp_path):
    shutil.rmtree(sharded / "variables")
    refuses(sharded, "variables", folder=tmp_path)


def test_signature_that_is_not_there(tmp_path):
    refuses(MLP, "'nope'", "serving_default", options=["--signature", "nope"], folder=tmp_path)


def test_model_that_is_not_there(tmp_path):
    refuses(tmp_path / "ghost.onnx", "ghost.onnx", folder=tmp_path)


def test_pipe_for_a_model(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    refuses(tmp_path / "pipe.onnx", "pipe.onnx", "file", folder=tmp_path)


# --- running ---

@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    path = tmp_path_factory.mktemp("mlp") / "mlp.tenon"
    tenon("compile", MLP, "-o", path, "--signature", "serving_default", status=0)
    return path


RUNS = {
    "missing": ([], ["'features'"]),
    "unknown name": ([("ghost", np.zeros((1, 20), np.float32))], ["'ghost'", "features"]),
    "dtype": ([("features", np.zeros((1, 20), np.float64))], ["'features'", "f32[?batch,20]", "f64[1,20]"]),
    "rank": ([("features", np.zeros(20, np.float32))], ["'features'", "f32[?batch,20]", "f32[20]"]),
    "size": ([("features", np.zeros((1, 21), np.float32))], ["'features'", "f32[?batch,20]", "f32[1,21]"]),
    "twice": ([("features", np.zeros((1, 20), np.float32))] * 2, ["'features'"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_wrong_inputs(name, mlp, tmp_path):
    arrays, words = RUNS[name]
    options = []
    for i, (port, array) in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
        options += ["--input", f"{port}={tmp_path / f'{i}.npy'}"]
    errors = tenon("run", mlp, *options, "--output-dir", tmp_path / "out", status=1)
    for word in words:
        assert word in errors
    assert not (tmp_path / "out").exists()


def test_arrays_in_column_order(mlp, tmp_path):
    x = np.asfortranarray(np.random.default_rng(1).random((4, 20), np.float32))
    for name, array in (("f", x), ("c", np.ascontiguousarray(x))):
        np.save(tmp_path / f"{name}.npy", array)
        tenon("run", mlp, "--input", f"features={tmp_path / f'{name}.npy'}", "--output-dir", tmp_path / name, status=0)
    outputs = [next((tmp_path / name).iterdir()).read_bytes() for name in ("f", "c")]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("change, words", [
    (lambda c: c[:100], ["ends beyond the end"]),
    (lambda c: c[:-1], ["mlp.tenon"]),
    (lambda c: c[:-200] + bytes(200), ["checksum"]),
    (lambda c: c[:8] + b"\x09" + c[9:], ["format 9.", "update the runtime"]),
    (lambda c: b"PK\x03\x04" + c[4:], ["tenon compile"]),
    (lambda c: b"", ["mlp.tenon"]),
])
def test_damaged_compiled_file(mlp, change, words, tmp_path):
    damaged = tmp_path / "mlp.tenon"
    damaged.write_bytes(change(mlp.read_bytes()))
    for command in ("inspect", "run"):
        errors = tenon(command, damaged, status=1, model=damaged)
        for word in words:
            assert word in errors


# --- what is left behind ---

def state_of(folder):
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).digest() if p.is_file() else b"")
            for p in sorted(folder.rglob("*"))}


# Root may write anywhere; without these it is a user like any other.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
needs_setpriv = pytest.mark.skipif(bool(AS_USER) and shutil.which("setpriv") is None, reason="setpriv is not there")


@needs_setpriv
def test_read_only_model_is_left_alone(sharded, tmp_path):
    for path in [*sharded.rglob("*"), sharded]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state_of(sharded)
    for command in (["compile", sharded, "-o", tmp_path / "model.tenon"], ["check", sharded]):
        tenon(*command, status=0, prefix=AS_USER)
    assert state_of(sharded) == before
    for path in [sharded, *sharded.rglob("*")]:
        path.chmod(0o755)


@needs_setpriv
def test_folder_that_cannot_be_written(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o555)
    errors = tenon("compile", MLP, "-o", out / "model.tenon", status=3, prefix=AS_USER)
    assert str(out) in errors and "Permission denied" in errors
    assert list(out.iterdir()) == []
    out.chmod(0o755)


def test_folder_that_is_not_there(tmp_path):
    errors = tenon("compile", MLP, "-o", tmp_path / "ghost/model.tenon", status=3)
    assert "ghost/model.tenon" in errors


def test_full_disk():
    errors = tenon("compile", MLP, "-o", "/dev/full", status=3)
    assert "No space left" in errors
    assert not os.path.isfile("/dev/full")


def test_killed_while_writing(mlp, tmp_path):
    """The old file or the new one is there, whole. Beside it may be the new one about to be renamed, never a part."""
    target = tmp_path / "out/model.tenon"
    target.parent.mkdir()
    old, new = b"an older result", mlp.read_bytes()
    started = time.monotonic()
    tenon("compile", MLP, "-o", target, "--signature", "serving_default", status=0)
    whole = time.monotonic() - started
    seen = set()
    for i in range(24):
        target.write_bytes(old)
        process = subprocess.Popen([TENON, "compile", MLP, "-o", target, "--signature", "serving_default"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * (i + 1) / 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = target.read_bytes()
        assert content in (old, new)
        seen.add(content == new)
        for other in set(target.parent.iterdir()) - {target}:
            assert other.read_bytes() == new
            other.unlink()
    assert False in seen


# --- names that are no UTF-8 ---

ODD_NAME = onnx_model([onnx_node("Frobnicate", ["x"], ["y"], b"block/\xee")], [X])


def test_names_that_are_no_text(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(ODD_NAME)
    done = subprocess.run([TENON, "check", model, "--json"], capture_output=True)
    assert done.returncode == 1 and "block/" in json.loads(done.stdout.decode())["nodes"][0]["name"]


# --- from Python ---

def test_python_errors(tmp_path):
    sys.path.insert(0, str(BUILD / "python"))
    tenon_module = importlib.import_module("tenon")
    for name, (text, words, _) in GRAPHS.items():
        if name in ("no such output", "no such input", "cycle"):
            continue
        model = tmp_path / "graph.pbtxt"
        model.write_text(text)
        with pytest.raises(tenon_module.Error) as caught:
            tenon_module.compile(model, tmp_path / "model.tenon")
        assert caught.value.code in ("invalid_model", "invalid_argument", "unsupported", "resource_exhausted")
        for word in words:
            assert word in str(caught.value)
        assert not (tmp_path / "model.tenon").exists()
    with pytest.raises(tenon_module.Error, match=r"block/\\xee"):
        tenon_module.compile(ODD_NAME)
