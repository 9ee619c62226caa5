"""The commands for people who work on Tenon, by their exit status and output."""
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tenon as tenon_package
from conftest import BUILD, ROOT
from conftest import command as tenon

TENON = BUILD / "bin/tenon"
GRAPH = """graph @main (%x: f32[?n,3]) {
  %w = const random(seed=7) : f32[3,20]
  %b = const random(seed=8) : f32[20]
  %m = matmul(%x, %w) from "dense/MatMul"
  %a = add(%m, %b) from "dense/BiasAdd"
  %y = relu(%a) from "dense/Relu"
  return (%y "scores")
}
"""


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "graph.tn"
    path.write_text(GRAPH)
    return path


@pytest.fixture
def compiled(graph):
    path = graph.with_suffix(".tenon")
    tenon("compile", graph, "-o", path)
    return path


def test_text_is_a_model(graph, compiled, tmp_path):
    assert "matmul" in tenon("check", graph).stdout
    full = tmp_path / "full.tn"
    tenon("import", graph, "-o", full)
    again = tmp_path / "again.tn"
    tenon("import", full, "-o", again)
    assert full.read_text() == again.read_text()
    tenon("run", compiled, "--compare", "reference")


def fixture_models():
    for folder in sorted((ROOT / "tests/fixtures/onnx").glob("*")) + sorted((ROOT / "tests/fixtures/tf").glob("*")):
        for model in [*folder.glob("*.onnx"), folder / "saved_model", folder / "model.pb"]:
            if model.exists():
                yield pytest.param(model, id=f"{folder.parent.name}/{folder.name}")


@pytest.mark.parametrize("model", list(fixture_models()))
def test_every_graph_reads_back_the_same(model, tmp_path):
    texts = [tmp_path / "a.tn", tmp_path / "b.tn"]
    tenon("import", model, "-o", texts[0])
    tenon("import", texts[0], "-o", texts[1])
    assert texts[0].read_text() == texts[1].read_text()
    # What a file holds is a graph that compiles to the same.
    tenon("compile", model, "-o", tmp_path / "a.tenon")
    tenon("dump", tmp_path / "a.tenon", "-o", tmp_path / "c.tn")
    tenon("compile", tmp_path / "c.tn", "-o", tmp_path / "b.tenon")
    tenon("dump", tmp_path / "b.tenon", "-o", tmp_path / "d.tn")
    assert (tmp_path / "c.tn").read_text() == (tmp_path / "d.tn").read_text()


def test_short_form_says_what_it_lacks(graph, tmp_path):
    short = tmp_path / "short.tn"
    short.write_text(tenon("import", graph).stdout)
    assert "short.tn:2:" in tenon("import", short, status=1).stderr


def test_opt_runs_the_pipeline_of_the_first_line(graph, tmp_path):
    fused = tmp_path / "fused.tn"
    fused.write_text("// opt: fuse\n" + GRAPH)
    report = json.loads(tenon("opt", fused, "--json").stdout)
    assert report["functions"][0]["rules"] == {"fuse-activation": 1, "fuse-bias": 1}
    assert "relu(" in tenon("opt", "-p", "fuse{disable=fuse-activation}", fused).stdout
    assert "there are:" in tenon("opt", "-p", "nope", fused, status=2).stderr
    tenon("opt", status=2)


def test_dump_shows_the_compiled_graph(compiled):
    assert 'activation="relu"' in tenon("dump", compiled).stdout
    tenon("dump", compiled.with_suffix(".tn"), status=1)


def test_diff_of_values_and_structure(graph, compiled, tmp_path):
    report = json.loads(tenon("diff", compiled, graph, "--json").stdout)
    assert report["same"] and report["outputs"][0]["name"] == "scores"
    assert "layer dense/Relu" in tenon("diff", "--layers", compiled, graph).stdout
    tenon("diff", "--structure", graph, graph)
    tenon("diff", "--structure", compiled, graph, status=1)
    other = tmp_path / "other.tn"
    other.write_text(GRAPH.replace("seed=8", "seed=9"))
    assert "DIFFER scores" in tenon("diff", other, graph, status=1).stdout


def test_bisect_and_reduce_find_nothing_where_nothing_is_wrong(graph):
    assert json.loads(tenon("bisect", graph, "--json").stdout)["same"]
    assert "nothing to reduce" in tenon("reduce", "-p", "default", graph, status=1).stderr


def commands():
    """The words of every command, those of `tenon targets` too."""
    listed = lambda *words: re.findall(r"^  (\S+) {2,}", tenon(*words, "--help").stdout.split("Subcommands:")[1], re.M)
    for command in listed():
        yield from [[command, word] for word in listed(command)] if command == "targets" else [[command]]


def test_every_help_has_an_example_and_json():
    every = list(commands())
    assert len(every) > 20
    for words in every:
        help_text = tenon(*words, "--help").stdout
        assert "Usage: tenon " in help_text and "Example:" in help_text and "--json" in help_text, words


def test_versions_agree():
    stated = re.search(r"project\(tenon VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert tenon_package.__version__ == stated
    assert tenon("--version").stdout.strip() == f"tenon {stated}"


@pytest.mark.parametrize("command", [["import"], ["opt", "-p", "default"], ["dump"]])
def test_json_does_not_keep_a_graph_from_its_file(command, graph, compiled, tmp_path):
    source, file = compiled if command == ["dump"] else graph, tmp_path / "out.tn"
    json.loads(tenon(*command, source, "-o", file, "--json").stdout)
    assert "matmul" in file.read_text()


@pytest.mark.parametrize("arguments, words", [
    (["frobnicate"], "no command 'frobnicate'"),
    (["complie"], "did you mean 'compile'"),
    ([], "compile"),
    (["compile"], "MODEL"),
    (["compile", "m.onnx", "--no-such-flag"], "no option '--no-such-flag'"),
    (["compile", "m.onnx", "--precison=int8"], "did you mean '--precision'"),
    (["compile", "m.onnx", "-o", ""], "empty name"),
    (["compile", "m.onnx", "--embed-custom-ops"], "--custom-ops"),
    (["compile", "m.onnx", "--no-verify", "--verify-inputs", "x.npz"], "--verify-inputs"),
    (["compile", "m.onnx", "--disable", "fuse-bia"], "did you mean 'fuse-bias'"),
    (["compile", "m.onnx", "--input-shape", "x:1,b"], "NAME:1,224,224,3"),
    (["compile", "m.onnx", "--precision", "int3"], "did you mean 'int8'"),
    (["compile", "m.onnx", "--target", "toaster"], "cpu"),
    (["compile", "m.onnx", "-o", "/"], "is a folder"),
    (["run", "m.tenon", "--threads", "0"], "threads"),
    (["run", "m.tenon", "--tolerance", "1e-3"], "--compare"),
    (["run", "m.tenon", "--compare", "reference", "--tolerance", "nan"], "no number from 0"),
    (["run", "m.tenon", "--reference", "--device", "null"], "--device"),
    (["bench", "m.tenon", "--runs", "-1"], "runs"),
    (["bench", "m.tenon", "--csv", "--json"], "--json"),
    (["bench", "m.tenon", "--batch", "2", "--input", "x.npy"], "--batch"),
    (["inspect", "m.tenon", "--largest", "-1"], "no number from 0"),
    (["explain", "m.tenon", "--layer", "conv"], "--target"),
    (["check", "m.onnx", "--batch", "4"], "--precision"),
    (["diff", "a.tenon", "b.tenon", "--report", "r.html"], "--data"),
])
def test_usage_mistakes(arguments, words):
    assert words in tenon(*arguments, status=2).stderr


def test_errors_of_the_environment_and_the_model(graph, tmp_path):
    assert "no folder" in tenon("compile", graph, "-o", tmp_path / "none/x.tenon", status=3).stderr
    assert "missing.onnx" in tenon("compile", tmp_path / "missing.onnx", status=1).stderr
    file = tmp_path / "file"
    file.write_text("no model")
    for what in (file, tmp_path):
        for command in ("run", "bench", "inspect", "dump"):
            assert "tenon compile" in tenon(command, what, status=1).stderr
    assert "give --target" in tenon("compile", graph, "--batch", "4", status=1).stderr
    assert "no pipeline" in tenon("reduce", graph, status=1).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "graph.tn"]


def test_compile_replaces_its_output_and_names_it_after_the_model(graph):
    report = json.loads(tenon("compile", graph, "--json").stdout)
    assert report["output"] == f"{graph}.tenon"
    assert report["functions"][0]["rules"]["fuse-bias"] == 1
    before = Path(report["output"]).read_bytes()
    tenon("compile", graph, "--disable", "fuse-bias", "--disable", "fuse-activation")
    assert Path(report["output"]).read_bytes() != before
    again = json.loads(tenon("inspect", report["output"], "--json").stdout)
    assert again["notes"]["disabled"] == "fuse-activation fuse-bias"
    tenon("compile", graph, "-o", "/dev/null")
    assert not Path("/dev/null").is_file()


def test_a_flag_takes_one_value_and_leaves_the_model(graph, tmp_path):
    file = tmp_path / "a.tenon"
    tenon("compile", "--disable", "fuse-bias", "--disable", "fuse-pad", "--input-shape", "x:2,3", graph, "-o", file)
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    tenon("run", "--input", f"x={tmp_path}/x.npy", file)


def test_run_writes_outputs_into_a_new_folder(tmp_path):
    graph = tmp_path / "names.tn"
    graph.write_text("""graph @main (%x "in/x:0": f32[?n,3]) {
  %a = relu(%x)
  %b = neg(%x)
  return (%a "a/b:0", %b "a_b", %a "../c:1")
}
""")
    tenon("compile", graph, "-o", tmp_path / "names.tenon")
    x = np.array([[1, -2, 3]], np.float32)
    np.save(tmp_path / "x.npy", x)
    folder = tmp_path / "deep/er"
    for name in ("in/x", "in/x:0"):
        report = json.loads(tenon("run", tmp_path / "names.tenon", "--input", f"{name}={tmp_path}/x.npy",
                                  "--output-dir", folder, "--json").stdout)
    assert sorted(path.name for path in folder.iterdir()) == ["_.._c_1.npy", "a_b.npy", "a_b_1.npy"]
    np.testing.assert_array_equal(np.load(report["outputs"]["a/b:0"]["file"]), np.maximum(x, 0))
    np.testing.assert_array_equal(np.load(report["outputs"]["a_b"]["file"]), -x)
    text = tenon("run", tmp_path / "names.tenon", "--input", tmp_path / "x.npy").stdout
    assert "min 0  max 3  mean 1.33333" in text


def test_run_says_what_is_wrong_with_an_input(compiled, tmp_path):
    np.save(tmp_path / "f64.npy", np.zeros((2, 3)))
    np.save(tmp_path / "wide.npy", np.zeros((2, 4), np.float32))
    for value, words in (("f64", "astype('float32')"), ("wide", "f32[2,4]")):
        assert words in tenon("run", compiled, "--input", f"x={tmp_path}/{value}.npy", status=1).stderr
    assert "there are: 'x' f32[?n,3]" in tenon("run", compiled, status=1).stderr
    assert "no input 'y'" in tenon("run", compiled, "--input", "y=z.npy", status=1).stderr
    assert "z.npy" in tenon("run", compiled, "--input", "x=z.npy", status=1).stderr


def test_run_takes_strings_and_lists(tmp_path):
    graph = tmp_path / "text.tn"
    graph.write_text("""graph @main (%s: str[?n], %l: list<f32[?]>) {
  return (%s "s", %l "l")
}
""")
    tenon("compile", graph, "-o", tmp_path / "text.tenon")
    np.save(tmp_path / "s.npy", np.array(["ä", "bc"]))
    np.save(tmp_path / "a.npy", np.float32([1, 2]))
    np.save(tmp_path / "b.npy", np.float32([3]))
    tenon("run", tmp_path / "text.tenon", "--input", f"s={tmp_path}/s.npy", "--input", f"l={tmp_path}/a.npy",
          "--input", f"l={tmp_path}/b.npy", "--output-dir", tmp_path / "out")
    assert [s.decode() for s in np.load(tmp_path / "out/s.npy")] == ["ä", "bc"]
    assert np.load(tmp_path / "out/l.0.npy").tolist() == [1, 2]
    assert np.load(tmp_path / "out/l.1.npy").tolist() == [3]


def test_run_prints_strings_in_quotes(tmp_path):
    (tmp_path / "text.tn").write_text('graph @main (%s: str[?n]) {\n  return (%s "s")\n}\n')
    tenon("compile", tmp_path / "text.tn", "-o", tmp_path / "text.tenon")
    np.save(tmp_path / "s.npy", np.array([b"a\x1b[31m\n\"", b"x" * 1000]))
    shown = tenon("run", tmp_path / "text.tenon", "--input", f"s={tmp_path}/s.npy").stdout
    assert r'"a\x1b[31m\n\""' in shown and "\x1b" not in shown
    assert "(1000 bytes)" in shown and len(shown) < 500


def test_bench_measures_what_it_says(compiled, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 3), np.float32))
    report = json.loads(tenon("bench", compiled, "--runs", 7, "--warmup", 1, "--input", f"x={tmp_path}/x.npy",
                              "--threads", 1, "--json").stdout)
    assert set(report["latency_ms"]) == {"min", "p50", "p90", "p99", "mean"}
    assert report["runs"] == 7 and report["batch"] == 4
    for key in ("throughput_per_s", "load_ms", "first_run_ms", "peak_rss_bytes", "file_bytes"):
        assert report[key] > 0
    assert json.loads(tenon("bench", compiled, "--batch", 2, "--duration", 0.01, "--json").stdout)["batch"] == 2
    cells = json.loads(tenon("bench", compiled, "--threads", "1,2", "--streams", "1,3", "--batch", "1,4", "--runs", 5, "--json").stdout)
    assert {(c["threads"], c["streams"], c["batch"]) for c in cells} == {(t, s, b) for t in (1, 2) for s in (1, 3) for b in (1, 4)}
    assert all(c["runs"] == 5 * c["streams"] for c in cells)
    table = tenon("bench", compiled, "--streams", "1,2", "--runs", 3, "--csv").stdout.splitlines()
    assert len(table) == 3 and table[0].startswith("threads,streams,batch,runs") and table[2].startswith("0,2,1,6,")
    assert len(tenon("bench", compiled, "--batch", "1,2", "--runs", 3).stdout.splitlines()) == 3
    assert "--profile" in tenon("bench", compiled, "--streams", 2, "--profile", status=1).stderr
    slow = tenon("bench", compiled, "--duration", 1.2)
    assert "measure …" in slow.stderr and "throughput" in slow.stdout


def test_strict_does_without_winograd_and_strassen(tmp_path):
    (tmp_path / "conv.tn").write_text("""graph @main (%x: f32[1,32,32,64]) {
  %w = const random(seed=7) : f32[3,3,64,64]
  %y = conv(%x, %w) {pads=[1, 1, 1, 1]}
  return (%y "y")
}
""")
    for options in ([], ["--strict"]):
        tenon("compile", tmp_path / "conv.tn", *options, "-o", tmp_path / "conv.tenon")
        shown = tenon("explain", tmp_path / "conv.tenon").stdout
        assert ("not winograd: compiled with --strict" in shown) == bool(options)
        tenon("run", tmp_path / "conv.tenon", "--compare", "reference")
    (tmp_path / "matmul.tn").write_text("""graph @main (%x: f32[256,768]) {
  %w = const random(seed=7) : f32[768,768]
  %y = matmul(%x, %w)
  return (%y "y")
}
""")
    for options in ([], ["--strict"]):
        tenon("compile", tmp_path / "matmul.tn", *options, "-o", tmp_path / "matmul.tenon")
        shown = tenon("explain", tmp_path / "matmul.tenon").stdout
        assert ("not gemm_strassen: compiled with --strict" in shown) == bool(options)
        tenon("run", tmp_path / "matmul.tenon", "--compare", "reference")
    # Where a kernel in f32 stands in for one in bf16, too.
    tenon("compile", tmp_path / "conv.tn", "--precision", "bf16", "--strict", "-o", tmp_path / "conv.tenon")
    assert "winograd in f32" not in tenon("explain", tmp_path / "conv.tenon", TENON_ISA="avx2").stdout


def test_inspect_and_explain_tell_all(compiled):
    report = json.loads(tenon("inspect", compiled, "--json").stdout)
    assert report["format"] == "1.4" and report["file_bytes"] == compiled.stat().st_size
    assert [s["name"] for s in report["sections"]] == ["metadata", "weights"]
    assert report["weights"]["bytes_by_dtype"] == {"f32": 320} and len(report["weights"]["largest"]) == 2
    function = report["functions"][0]
    assert function["inputs"][0]["shape"] == [None, 3] and function["dynamic"] == ["x[0]"]
    assert function["ops"] == {"matmul": 1}
    report = json.loads(tenon("explain", compiled, "--json").stdout)
    assert {rule["rule"] for rule in report["rules"]} == {"fuse-bias", "fuse-activation"}
    assert report["steps"][0]["op"] == "matmul" and report["steps"][0]["kernel"]
    assert "dense/MatMul" in tenon("explain", compiled).stdout


def test_check_counts_and_fails_on_what_cannot_run(tmp_path):
    model = ROOT / "examples/digits/saved_model"
    report = json.loads(tenon("check", model, "--json").stdout)
    assert report["ok"] and sum(report["counts"].values()) == len(report["nodes"])
    assert {"op": "Conv2D", "mapped": 6, "folded": 0, "cpu": 0, "unsupported": 0} in report["ops"]
    assert "serving_default" in report["signatures"]
    assert len(tenon("check", model, "--summary").stdout) < len(tenon("check", model).stdout)
    unknown = tmp_path / "unknown.pbtxt"
    unknown.write_text('node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }\n'
                       'node { name: "y" op: "Frobnicate" input: "x" }\n')
    done = tenon("check", unknown, "--json", status=1)
    bad = [node for node in json.loads(done.stdout)["nodes"] if node["fate"] == "unsupported"]
    assert [node["name"] for node in bad] == ["y"] and bad[0]["reason"]


@pytest.mark.parametrize("content, words", [
    (b"\x89HDF\r\n\x1a\n\0\0", "model.export"),
    (b"PK\x03\x04\x14\0", "torch.onnx.export"),
    (b"\x1c\0\0\0TFL3\0\0", "TensorFlow Lite"),
    (b"TENON\r\n\x1a\1\0", "tenon run"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"model/".ljust(257, b"\0") + b"ustar\0", "tar archive"),
    (b'{"class_name": "Sequential"}', "to_json"),
    (b"\x80\x02}q\0", "pickled"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"", "is empty"),
])
def test_files_of_other_tools_are_told_by_name(content, words, tmp_path):
    for name in ("model", "model.pb", "model.onnx"):
        path = tmp_path / name
        path.write_bytes(content)
        error = tenon("compile", path, status=1).stderr
        assert words in error and str(path) in error


@pytest.mark.parametrize("options, words", [
    (["--signature", "predict"], "there are: serving_default"),
    (["--input-shape", "image:1,12,12,2"], "did you mean 'images'"),
    (["--outputs", "probabilitie"], "did you mean 'probabilities'"),
    (["--inputs", "MaxPool"], "did you mean 'MaxPool2d'"),
])
def test_names_that_are_not_in_the_model(options, words, tmp_path):
    model = ROOT / "tests/fixtures/tf/v1_cnn_frozen/model.pb"
    assert words in tenon("compile", model, "-o", tmp_path / "a.tenon", *options, status=1).stderr
    assert not list(tmp_path.iterdir())


def test_cuts_take_names_with_and_without_the_output_number(tmp_path):
    model = ROOT / "tests/fixtures/tf/v1_cnn_frozen/model.pb"
    for name in ("Reshape", "Reshape:0"):
        tenon("compile", model, "-o", tmp_path / "a.tenon", "--outputs", name, "--input-shape", "images:0:1,12,12,2")
        report = json.loads(tenon("inspect", tmp_path / "a.tenon", "--json").stdout)
        assert report["functions"][0]["outputs"][0]["shape"] == [1, 54]


def test_bench_profiles_every_step(compiled):
    report = json.loads(tenon("bench", compiled, "--duration", "0.01", "--profile", "--json").stdout)
    assert [step["op"] for step in report["steps"]] == ["matmul"]
    step = report["steps"][0]
    assert step["time_ns"] > 0 and step["flops"] == 2 * 3 * 20 and step["bytes"] > 20 * 3 * 4
    assert step["origins"] == ["dense/MatMul", "dense/BiasAdd", "dense/Relu"]
    lines = tenon("bench", compiled, "--duration", "0.01", "--profile", "--threads", "1").stdout
    assert "GFLOP/s" in lines and "dense/MatMul" in lines
    plain = json.loads(tenon("bench", compiled, "--duration", "0.01", "--json").stdout)
    assert "steps" not in plain and plain["latency_ms"]["min"] > 0


def test_targets_are_listed_and_shown():
    listed = json.loads(tenon("targets", "list", "--json").stdout)
    assert {"ascend310p3", "ascend910b3", "mlu370-s4"} <= {chip["name"] for chip in listed}
    for chip in listed:
        shown = json.loads(tenon("targets", "show", chip["name"].upper(), "--json").stdout)
        assert sum(shown["confidence"].values()) == len(shown["numbers"])
        assert all(n["unit"] and n["source"] for n in shown["numbers"].values())
        assert f"{chip['name']}: {chip['title']}" in tenon("targets", "show", chip["name"]).stdout
    assert "simulated" in tenon("targets", "list").stdout
    assert "did you mean 'mlu370-s4'" in tenon("targets", "show", "mlu370-s5", status=1).stderr


def test_a_chip_is_one_file(tmp_path):
    text = (ROOT / "targets/ascend310p3.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace('"ascend310p3"', '"ascend310p9"').replace("value = 8,", "value = 16,"))
    chip = json.loads(tenon("targets", "show", "ascend310p9", "--targets-dir", tmp_path, "--json").stdout)
    assert chip["peak_tops"]["f16"] == pytest.approx(2 * 69.5, abs=1)
    lines = text.splitlines()
    broken = next(i for i, line in enumerate(lines) if line.startswith("l0c ="))
    lines[broken] = lines[broken].replace('256, unit = "KiB"', '1500, unit = "B"')
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    stderr = tenon("targets", "list", "--targets-dir", tmp_path, status=1).stderr
    assert f"mine.toml:{broken + 1}" in stderr and "l0c" in stderr


def test_runtime_library_is_small(tmp_path):
    """What is deployed: under 5 MB, and nothing but the C and C++ libraries."""
    library = TENON.parent.parent / "lib/libtenon_runtime.so"
    subprocess.run(["strip", "-o", tmp_path / "stripped.so", library], check=True)
    assert (tmp_path / "stripped.so").stat().st_size < 5_000_000
    headers = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
    needed = {line.split()[1] for line in headers.splitlines() if line.split()[:1] == ["NEEDED"]}
    assert needed <= {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "ld-linux-x86-64.so.2"}


def test_weights_lie_packed_in_the_file(digits, runner, tmp_path):
    """The same file everywhere, which runs on every instruction set and whose weights need not be packed."""
    images = tmp_path / "images.npy"
    np.save(images, digits[1][:4])
    name = runner.inputs[0].name
    results = []
    for isa in ("avx2", "avx512f", ""):
        file, folder = tmp_path / f"{isa}.tenon", tmp_path / f"out{isa}"
        tenon("compile", digits[0], "-o", file, TENON_ISA=isa)
        folder.mkdir()
        tenon("run", file, "--input", f"{name}={images}", "--output-dir", folder, TENON_ISA=isa)
        results += [np.load(next(folder.iterdir()))]
        np.testing.assert_allclose(results[-1], results[0], rtol=1e-5, atol=1e-6)
        assert file.read_bytes() == (tmp_path / "avx2.tenon").read_bytes()
    sections = json.loads(tenon("inspect", file, "--json").stdout)["sections"]
    assert {s["name"]: s["bytes"] for s in sections}["packed weights"] >= 16 << 10


QUANTISED = """graph @main (%x: f32[2,8]) {
  %s = const dense<0.1> : f32[]
  %z = const dense<128> : u8[]
  %b = quantize_linear(%x, %s, %z) : u8[2,8]
  %y = dequantize_linear(%b, %s, %z) : f32[2,8]
  return (%y)
}
"""


def test_halves_of_a_quantised_model_may_become_the_next_integer(tmp_path):
    """Numbers just below the middle of a step, which a half can round over it."""
    model, inputs = tmp_path / "q.tn", tmp_path / "x.npy"
    model.write_text(QUANTISED)
    x = np.arange(16).reshape(2, 8) + 0.25
    x[0, 4:], x[1, :2] = np.arange(4, 8) + 0.4999, np.arange(8, 10) + 0.4999
    np.save(inputs, (x * 0.1).astype(np.float32))
    run = ("run", model, "--device", "mlu370-s4", "--input", inputs, "--compare", "reference")
    tenon(*run)
    assert "DIFFER" in tenon(*run, "--tolerance", "1e-2", status=1).stdout
    x = np.arange(16).reshape(2, 8) + 0.4999
    np.save(inputs, (x * 0.1).astype(np.float32))
    assert "DIFFER" in tenon(*run, status=1).stdout
