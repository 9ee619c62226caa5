"""tenon compile --prepack: weights as kernels read them are in the file, and change nothing but the load."""

import json

import numpy as np
import pytest
from conftest import ROOT, command, tenon

DIGITS = ROOT / "examples/digits/saved_model"
IMAGES = ROOT / "examples/digits/digits.npy"


def answer(*arguments):
    return json.loads(command(*arguments, "--json").stdout)


def compiled(path, *options):
    return answer("compile", DIGITS, "-o", path, *options)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepack")
    plain, prepacked = folder / "plain.tenon", folder / "prepacked.tenon"
    reports = compiled(plain), compiled(prepacked, "--prepack", "--prepack-batch", "1,64")
    return plain, prepacked, reports


def test_the_report_says_what_it_takes(files):
    plain, prepacked, reports = files
    assert reports[0]["prepacked_bytes"] == 0 < reports[1]["prepacked_bytes"]
    more = prepacked.stat().st_size - plain.stat().st_size
    assert reports[1]["prepacked_bytes"] <= more <= reports[1]["prepacked_bytes"] + 8192
    assert answer("inspect", plain)["prepacked"] == []
    forms = answer("inspect", prepacked)["prepacked"]
    assert forms and sum(form["bytes"] for form in forms) == reports[1]["prepacked_bytes"]
    assert answer("inspect", prepacked)["sections"][-1]["name"] == "prepacked weights"


def test_nothing_is_packed_by_the_load(files):
    plain, prepacked, _ = files
    for batch in (1, 64):
        assert answer("explain", plain, "--batch", batch)["packed_bytes"] > 0
        assert answer("explain", prepacked, "--batch", batch)["packed_bytes"] == 0


@pytest.mark.parametrize("environment", [{}, {"TENON_ISA": "avx2"}])
def test_results_are_the_same(files, tmp_path, environment):
    results = []
    for name, path in zip(("plain", "prepacked"), files[:2]):
        command("run", path, "--input", IMAGES, "--output-dir", tmp_path / name, **environment)
        results.append([np.load(file) for file in sorted((tmp_path / name).glob("*.npy"))])
    assert results[0]
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


def test_files_are_the_same_each_time(files, tmp_path):
    compiled(tmp_path / "again.tenon", "--prepack", "--prepack-batch", "1,64")
    assert (tmp_path / "again.tenon").read_bytes() == files[1].read_bytes()


def test_in_python(files):
    assert tenon.compile(DIGITS, prepack=(1, 64)) == files[1].read_bytes()
    assert tenon.compile(DIGITS, prepack=()) == files[0].read_bytes()
    with pytest.raises(tenon.Error, match="a batch"):
        tenon.compile(DIGITS, prepack=(0,))


def test_absurd_batches_are_refused(tmp_path):
    for options in (["--prepack-batch", "8"], ["--prepack", "--prepack-batch", "0"]):
        done = command("compile", DIGITS, "-o", tmp_path / "x.tenon", *options, status=2)
        assert "--prepack" in done.stderr and not (tmp_path / "x.tenon").exists()
