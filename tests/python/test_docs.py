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
