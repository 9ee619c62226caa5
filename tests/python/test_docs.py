"""The reference pages that are generated from the code are up to date."""
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TENON = Path(os.environ.get("TENON_BUILD", ROOT / "build")) / "bin/tenon"


@pytest.mark.parametrize("page", ["ops", "rules"])
def test_page_is_what_the_code_says(page):
    generated = subprocess.run([TENON, "docs", page], check=True, capture_output=True, text=True).stdout
    written = (ROOT / f"docs/{page}.md").read_text()
    assert written == generated, f"run: build/bin/tenon docs {page} > docs/{page}.md"


def test_operators_page_lists_what_the_tests_run():
    pytest.importorskip("onnx")
    import operators_page

    written = (ROOT / "docs/operators.md").read_text()
    assert written == operators_page.page(*operators_page.collect()), \
        "run: .venv/bin/python tests/python/operators_page.py > docs/operators.md"
