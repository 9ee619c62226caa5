"""tenon compile --cache: the same content gives the same file at once, another does not."""

import json
import shutil
import subprocess

import pytest
from conftest import BUILD, ROOT

TENON = BUILD / "bin/tenon"
DIGITS = ROOT / "examples/digits/saved_model"


@pytest.fixture
def compiled(tmp_path):
    def compile_model(model, output, *args):
        command = [TENON, "compile", model, "-o", tmp_path / output, "--json", "--cache", tmp_path / "cache", *args]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), (tmp_path / output).read_bytes()

    return compile_model


def test_a_model_is_found_by_its_content(compiled, tmp_path):
    first, made = compiled(DIGITS, "a.tenon")
    shutil.copytree(DIGITS, tmp_path / "elsewhere")
    again, kept = compiled(tmp_path / "elsewhere", "b.tenon")
    assert "cached" not in first and again["cached"] is True
    assert kept == made
    assert again["output"].endswith("b.tenon")
    assert again["functions"] == first["functions"] and again["file_bytes"] == len(made)


def test_other_options_and_other_weights_are_compiled(compiled, tmp_path):
    compiled(DIGITS, "a.tenon")
    assert "cached" not in compiled(DIGITS, "b.tenon", "--disable", "fuse-bias")[0]
    changed = tmp_path / "changed"
    shutil.copytree(DIGITS, changed)
    (changed / "assets").mkdir(exist_ok=True)
    (changed / "assets/note.txt").write_text("another model")
    assert "cached" not in compiled(changed, "c.tenon")[0]


def test_the_data_of_a_calibration_counts(compiled, tmp_path):
    data = tmp_path / "data.npy"
    shutil.copy(ROOT / "examples/digits/digits.npy", data)
    options = ["--precision", "int8", "--calibration", data]
    compiled(DIGITS, "a.tenon", *options)
    assert compiled(DIGITS, "b.tenon", *options)[0]["cached"] is True
    content = bytearray(data.read_bytes())
    content[-4:] = b"\0\0\x80\x3f"
    data.write_bytes(content)
    assert "cached" not in compiled(DIGITS, "c.tenon", *options)[0]


def test_a_damaged_entry_is_compiled_again(compiled, tmp_path):
    _, made = compiled(DIGITS, "a.tenon")
    (kept,) = (tmp_path / "cache").glob("*.tenon")
    damaged = bytearray(made)
    damaged[len(damaged) // 2] ^= 0xFF
    kept.write_bytes(damaged)
    report, again = compiled(DIGITS, "b.tenon")
    assert "cached" not in report and again == made
    assert compiled(DIGITS, "c.tenon")[0]["cached"] is True


def test_a_report_is_written_although_the_model_is_known(compiled, tmp_path):
    options = ["--precision", "int8", "--calibration", ROOT / "examples/digits/digits.npy"]
    for name in ("a.tenon", "b.tenon"):
        page = tmp_path / f"{name}.html"
        compiled(DIGITS, name, *options, "--report", page)
        assert page.exists()
