"""What is left of whole models after all passes, by kinds of ops."""
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TENON = Path(os.environ.get("TENON_BUILD", ROOT / "build")) / "bin/tenon"
LOOPS = {"while", "reverse", "reverse_sequence", "list_get", "list_stack"}


def kinds(model, folder, *arguments):
    path = folder / "model.tn"
    subprocess.run([TENON, "import", model, "-o", path, *arguments], check=True, capture_output=True)
    text = subprocess.run([TENON, "opt", "-p", "default", path], check=True, capture_output=True, text=True).stdout
    return Counter(re.findall(r"= (\w+)\(", text))


@pytest.mark.parametrize("name, layers", [
    ("v1_lstm_frozen", {"lstm": 1}),
    ("v1_dynamic_gru_frozen", {"gru": 2}),
    ("v1_dynamic_lstm_frozen", {"lstm": 1, "rnn": 1}),
    ("v1_bidirectional_frozen", {"lstm": 1, "gru": 1}),
    ("v1_stacked_cells_frozen", {"lstm": 1, "gru": 1, "rnn": 1}),
    ("keras_bidirectional_lstm", {"lstm": 2}),
    ("keras2_bidirectional_gru", {"gru": 1}),
    ("keras_gru_reset_before", {"gru": 1}),
    ("keras_lstm_masking_sequences", {"lstm": 2}),
])
def test_recurrent_layers_are_found(fixtures, tmp_path, name, layers):
    model = fixtures(name)[0]
    found = kinds(model, tmp_path, *(["--signature", "serving_default"] if model.is_dir() else []))
    assert not LOOPS & set(found), found
    assert {kind: found[kind] for kind in ("lstm", "gru", "rnn") if found[kind]} == layers
