"""Models and builds that the Python tests share."""
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TENON_BUILD", ROOT / "build"))
sys.path.insert(0, str(BUILD / "python"))

import tenon  # noqa: E402


def command(*arguments, status=0, program="tenon", cwd=None, **environment):
    """A program of the build, run to its end, which must be of this exit status."""
    done = subprocess.run([BUILD / "bin" / program, *map(str, arguments)], capture_output=True, text=True, cwd=cwd,
                          env=os.environ | environment)
    assert done.returncode == status, done.stderr + done.stdout
    return done


@pytest.fixture(scope="session")
def fixtures():
    """fixtures(NAME) gives the path of a TensorFlow model and its inputs and outputs by name."""
    def load(name):
        folder = ROOT / "tests/fixtures/tf" / name
        model = folder / "saved_model"
        with np.load(folder / "io.npz") as arrays:
            inputs = {key[3:]: arrays[key] for key in arrays if key.startswith("in:")}
            outputs = {key[4:]: arrays[key] for key in arrays if key.startswith("out:")}
        return model if model.exists() else folder / "model.pb", inputs, outputs
    return load


@pytest.fixture(scope="session")
def digits():
    """The example's folder, held-out images, labels and TensorFlow's outputs."""
    folder = ROOT / "examples/digits"
    arrays = [np.load(folder / f"{name}.npy") for name in ("digits", "labels", "expected")]
    return folder / "saved_model", *arrays


@pytest.fixture(scope="session")
def digits_file(digits, tmp_path_factory):
    return tenon.compile(digits[0], tmp_path_factory.mktemp("digits") / "digits.tenon")


@pytest.fixture
def runner(digits_file):
    return tenon.Runner(digits_file, threads=1)


@pytest.fixture(scope="session")
def build():
    return BUILD


@pytest.fixture(scope="session")
def root():
    return ROOT
