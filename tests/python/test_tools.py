"""The commands for people who work on Tenon, by their exit status and output."""
import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TENON = Path(os.environ.get("TENON_BUILD", ROOT / "build")) / "bin/tenon"
GRAPH = """graph @main (%x: f32[?n,3]) {
  %w = const random(seed=7) : f32[3,20]
  %b = const random(seed=8) : f32[20]
  %m = matmul(%x, %w) from "dense/MatMul"
  %a = add(%m, %b) from "dense/BiasAdd"
  %y = relu(%a) from "dense/Relu"
  return (%y "scores")
}
"""


def tenon(*arguments, status=0, cwd=None):
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == status, done.stderr + done.stdout
    return done


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
    if subprocess.run([TENON, "import", model, "-o", texts[0]], capture_output=True).returncode == 1:
        pytest.skip("the model cannot be imported")
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
    assert "there are:" in tenon("opt", "-p", "nope", fused, status=1).stderr
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


@pytest.mark.parametrize("command", ["import", "opt", "dump", "diff", "bisect", "reduce", "run", "compile", "check"])
def test_help_has_an_example(command):
    help_text = tenon(command, "--help").stdout
    assert "Example:" in help_text and "--json" in help_text
