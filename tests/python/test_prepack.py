"""tenon compile --prepack: weights as kernels read them are in the file, and change nothing but the load."""

import json
import os
import subprocess

import numpy as np
import pytest
from conftest import BUILD, ROOT

TENON = BUILD / "bin/tenon"
DIGITS = ROOT / "examples/digits/saved_model"
IMAGES = ROOT / "examples/digits/digits.npy"


def run(*args, isa=None):
    environment = os.environ | ({"TENON_ISA": isa} if isa else {})
    return subprocess.run([TENON, *map(str, args)], capture_output=True, text=True, env=environment, timeout=300)


def compiled(path, *options):
    done = run("compile", DIGITS, "-o", path, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepack")
    plain, prepacked = folder / "plain.tenon", folder / "prepacked.tenon"
    reports = compiled(plain), compiled(prepacked, "--prepack", "--prepack-batch", "1,64")
    return plain, prepacked, reports


def inspected(path):
    done = run("inspect", path, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_report_says_what_it_takes(files):
    plain, prepacked, reports = files
    assert reports[0]["prepacked_bytes"] == 0 < reports[1]["prepacked_bytes"]
    more = prepacked.stat().st_size - plain.stat().st_size
    assert reports[1]["prepacked_bytes"] <= more <= reports[1]["prepacked_bytes"] + 8192
    assert inspected(plain)["prepacked"] == []
    forms = inspected(prepacked)["prepacked"]
    assert forms and sum(form["bytes"] for form in forms) == reports[1]["prepacked_bytes"]
    assert inspected(prepacked)["sections"][-1]["name"] == "prepacked weights"


def test_nothing_is_packed_by_the_load(files):
    plain, prepacked, _ = files

    def packed_bytes(path, batch):
        done = run("explain", path, "--json", "--batch", batch)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["packed_bytes"]

    for batch in (1, 64):
        assert packed_bytes(plain, batch) > 0
        assert packed_bytes(prepacked, batch) == 0


@pytest.mark.parametrize("isa", [None, "avx2"])
def test_results_are_the_same(files, tmp_path, isa):
    results = []
    for name, path in zip(("plain", "prepacked"), files[:2]):
        done = run("run", path, "--input", IMAGES, "--output-dir", tmp_path / name, isa=isa)
        assert done.returncode == 0, done.stderr
        results.append([np.load(file) for file in sorted((tmp_path / name).glob("*.npy"))])
    assert results[0]
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


def test_files_are_the_same_each_time(files, tmp_path):
    compiled(tmp_path / "again.tenon", "--prepack", "--prepack-batch", "1,64")
    assert (tmp_path / "again.tenon").read_bytes() == files[1].read_bytes()


def test_a_batch_without_prepack_is_refused(tmp_path):
    done = run("compile", DIGITS, "-o", tmp_path / "x.tenon", "--prepack-batch", "8")
    assert done.returncode == 2 and "--prepack" in done.stderr
    done = run("compile", DIGITS, "-o", tmp_path / "x.tenon", "--prepack", "--prepack-batch", "0")
    assert done.returncode == 2 and not (tmp_path / "x.tenon").exists()
