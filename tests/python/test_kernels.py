"""Ops of the user's own as kernel files (.mlu): on the CPU, on simulated chips, from ONNX and TensorFlow, and every way in which
they can be wrong."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tenon

ROOT = Path(__file__).resolve().parents[2]
TENON = Path(os.environ.get("TENON_BUILD", ROOT / "build")) / "bin/tenon"
EXAMPLE = ROOT / "examples/custom_mlu"
KERNEL = EXAMPLE / "row_norm.mlu"
TENSORFLOW = ROOT / "examples/custom_op"


def command(*arguments, status=0, cwd=None):
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == status, done.stderr + done.stdout
    done.said = done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tenon.compile(EXAMPLE / "model.onnx", tmp_path_factory.mktemp("kernel") / "m.tenon", custom_ops=KERNEL)


@pytest.fixture
def changed(tmp_path):
    """The kernel with a part of its text replaced, in a file."""
    def make(old, new):
        text = KERNEL.read_text()
        assert old in text
        (tmp_path / "changed.mlu").write_text(text.replace(old, new))
        return tmp_path / "changed.mlu"
    return make


def test_the_file_carries_the_kernel(model):
    runner = tenon.Runner(model)  # nothing is given, nothing allowed
    x, expected = np.load(EXAMPLE / "x.npy"), np.load(EXAMPLE / "expected.npy")
    np.testing.assert_allclose(runner.run(x)["y"], expected, rtol=1e-4, atol=1e-5)
    for rows in (1, 7):  # other sizes
        np.testing.assert_allclose(runner.run(x[:rows])["y"], expected[:rows], rtol=1e-4, atol=1e-5)
    assert "my.ops::RowNorm from row_norm.mlu" in command("inspect", model).stdout


def test_a_file_given_wins_over_the_one_carried(model, changed):
    doubled = changed("__bang_mul(row, row, gains, channels);", "__bang_mul(row, row, gains, channels); __bang_add(row, row, row, channels);")
    x, expected = np.load(EXAMPLE / "x.npy"), np.load(EXAMPLE / "expected.npy")
    np.testing.assert_allclose(tenon.Runner(model, custom_ops=doubled).run(x)["y"], 2 * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-4), ("fp16", 2e-2)])
def test_on_a_simulated_chip(model, precision, tolerance, tmp_path):
    done = command("run", model, "--device", "mlu370-s4", "--precision", precision, "--input", f"x={EXAMPLE}/x.npy",
                   "--output-dir", tmp_path)
    assert "(custom)" not in done.said
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), np.load(EXAMPLE / "expected.npy"), rtol=tolerance, atol=tolerance)


def test_other_chips_leave_it_to_the_host(model, tmp_path):
    done = command("run", model, "--device", "ascend310p3", "--input", f"x={EXAMPLE}/x.npy", "--output-dir", tmp_path)
    assert re.search(r"normalise.*bytes.*written for Cambricon chips", done.said)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), np.load(EXAMPLE / "expected.npy"), rtol=2e-2, atol=2e-2)


def test_predictions_have_its_time(model):
    on_chip, on_host = (json.loads(command("predict", model, "--target", chip, "--batch", "20", "--json").stdout)[0]
                        for chip in ("mlu370-s4", "ascend310p3"))
    assert 0 < on_chip["latency_ms"] < 1 and on_host["latency_ms"] > 0


def test_text_form_carries_it_too(tmp_path):
    command("import", EXAMPLE / "model.onnx", "--custom-ops", KERNEL, "-o", tmp_path / "m.tn")
    model = tenon.compile(tmp_path / "m.tn")
    x, expected = np.load(EXAMPLE / "x.npy"), np.load(EXAMPLE / "expected.npy")
    np.testing.assert_allclose(tenon.Runner(model).run(x)["y"], expected, rtol=1e-4, atol=1e-5)


def test_saved_model_with_a_loop_and_a_branch(tmp_path):
    kernel = TENSORFLOW / "soft_shrink_pair.mlu"
    path = tenon.compile(TENSORFLOW / "saved_model", tmp_path / "m.tenon", custom_ops=kernel)
    assert tenon.check(TENSORFLOW / "saved_model", custom_ops=[kernel]).ok
    runner = tenon.Runner(path)
    with np.load(TENSORFLOW / "io.npz") as io:
        arrays = dict(io)
    for i in range(2):
        results = runner.run({"x": arrays[f"{i}:in:x"]})
        for name in ("shrunk", "total", "chosen"):
            np.testing.assert_allclose(results[name], arrays[f"{i}:out:{name}"], rtol=1e-6, atol=1e-6)
    # Loops stay on the host of a chip, which does not stop the run.
    np.save(tmp_path / "x.npy", arrays["1:in:x"])
    done = command("run", path, "--device", "mlu370-s4", "--precision", "fp32", "--input", f"x={tmp_path}/x.npy",
                   "--output-dir", tmp_path)
    assert re.search(r"\(while\).*bytes", done.said) and "(custom)" not in done.said
    np.testing.assert_allclose(np.load(tmp_path / "shrunk.npy"), arrays["1:out:shrunk"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "total.npy"), arrays["1:out:total"], rtol=1e-5, atol=1e-5)


def test_a_library_on_a_chip_is_left_to_the_host(tmp_path):
    library = tmp_path / "libpair.so"
    subprocess.run(["g++", "-std=c++17", "-O1", "-fPIC", "-shared", f"-I{ROOT}/include",
                    TENSORFLOW / "soft_shrink_pair.cpp", "-o", library], check=True)
    np.save(tmp_path / "x.npy", np.array([[-1, 0.1, 2]], np.float32))
    path = tenon.compile(TENSORFLOW / "saved_model", tmp_path / "m.tenon", custom_ops=library)
    done = command("run", path, "--custom-ops", library, "--device", "mlu370-s4", "--input", f"x={tmp_path}/x.npy")
    assert re.search(r"\(custom\).*bytes.*runs on the CPU alone", done.said)
    command("predict", path, "--custom-ops", library, "--target", "mlu370-s4", "--batch", "1")


def test_wrong_operands_name_the_node(changed):
    kernel = changed("[*rows, channels]),\n         input(gain, float, [channels])",
                     "[*rows, channels]),\n         input(gain, float, [channels + 1])")
    with pytest.raises(tenon.Error, match="takes input 'gain' with 201 elements in dimension 0, not 200") as error:
        tenon.compile(EXAMPLE / "model.onnx", custom_ops=kernel)
    assert "normalise" in str(error.value)


@pytest.mark.parametrize("old, new, expected", [
    ("__bang_active_rsqrt", "__bang_active_rsqr", "there is no function '__bang_active_rsqr'; did you mean"),
    ("attribute(epsilon, 1e-6)", "attribute(epsilon, int)", "is a real number, it is to be an int"),
    ("(float* y,", "(float* z, float* y,", "parameter 'z' of 'row_norm' is no input, output, size or attribute"),
    ("TENON_OP", "TENON_UP", "expected TENON_OP"),
])
def test_mistakes_are_shown_with_their_place(old, new, expected, changed):
    with pytest.raises(tenon.Error) as error:
        tenon.compile(EXAMPLE / "model.onnx", custom_ops=changed(old, new))
    assert expected in str(error.value) and re.search(r"changed\.mlu:\d+:\d+", str(error.value)) and "^" in str(error.value)


def test_what_runs_out_of_an_array_is_an_error_of_the_node(changed):
    kernel = changed("#define MOST 16384", "#define MOST 100")
    with pytest.raises(tenon.Error, match="which has 400") as error:
        tenon.Runner(tenon.compile(EXAMPLE / "model.onnx", custom_ops=kernel)).run(np.load(EXAMPLE / "x.npy"))
    assert "normalise" in str(error.value) and "changed.mlu:" in str(error.value)


def test_what_is_not_written_shows(changed):
    kernel = changed("int i = taskId;", "int i = taskId + 1;")
    file = tenon.compile(EXAMPLE / "model.onnx", custom_ops=kernel)
    x = np.load(EXAMPLE / "x.npy")
    assert np.isnan(tenon.Runner(file).run(x)["y"]).all(axis=1).tolist() == [True] + [False] * (len(x) - 1)
    with pytest.raises(tenon.Error, match=r"element 0 of \d+ of output 'y' is not written") as error:
        tenon.Runner(file, device="mlu370-s4").run(x)
    assert "normalise" in str(error.value)


def run_test(folder, stem):
    return subprocess.run([sys.executable, folder / f"test_{stem}.py"], capture_output=True, text=True,
                          env={**os.environ, "TENON": str(TENON)})


@pytest.mark.parametrize("arguments", [[], ["--num-inputs", "3", "--num-outputs", "2"], ["--language", "cpp"]])
def test_what_new_op_writes_passes_its_test(arguments, tmp_path):
    command("new-op", "--custom", "my.domain::TwoWords", "--dir", tmp_path, *arguments)
    folder = tmp_path / "two_words"
    source = folder / ("two_words.cpp" if "cpp" in arguments else "two_words.mlu")
    assert {p.name for p in folder.iterdir()} >= {source.name, "two_words_model.tn", "test_two_words.py", "README.md"}
    done = run_test(folder, "two_words")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("passes") == 3
    # A kernel that is wrong does not pass.
    text = source.read_text()
    wrong = text.replace("sum, sum, scale, count)", "sum, sum, 2 * scale, count)").replace("y[k] = x[k];", "y[k] = 2 * x[k];")
    assert wrong != text
    source.write_text(wrong)
    assert run_test(folder, "two_words").returncode != 0
    assert "is there already" in command("new-op", "--custom", "my.domain::TwoWords", "--dir", tmp_path, *arguments, status=1).stderr


def test_a_kernel_that_no_longer_fits_the_chip_does_not_pass_its_test(tmp_path):
    command("new-op", "--custom", "Doubled", "--dir", tmp_path)
    source = tmp_path / "doubled/doubled.mlu"
    source.write_text(source.read_text().replace("#define TILE 8192", "#define TILE 1000000"))
    done = run_test(tmp_path / "doubled", "doubled")
    assert done.returncode != 0 and "bytes of nram" in done.stderr


def test_the_example_runs():
    done = subprocess.run([EXAMPLE / "run.sh"], capture_output=True, text=True, env={**os.environ, "PATH": f"{TENON.parent}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr + done.stdout
    assert shutil.which("tenon", path=str(TENON.parent)) and "simulated" in done.stdout
