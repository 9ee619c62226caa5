"""Reports source files and functions that have grown past the house's sizes.

    check_sizes.py [FILE…]    (default: every C++ and Python source that git tracks)

A file over 450 lines or a function over 100 is listed; one over twice that fails the check.
Function bodies are found by the shape that clang-format gives them, not by parsing.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES = 450, 100
NOT_A_FUNCTION = re.compile(r"^\s*(namespace|struct|class|enum|union|extern|switch|if|for|while|do|else)\b|= \{$")


def cpp_functions(lines):
    """(first line, length) of each body at namespace or class level."""
    for start, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        opens = line.rstrip().endswith("{") and indent in (0, 2) and "(" in " ".join(lines[max(0, start - 4):start + 1])
        if not opens or NOT_A_FUNCTION.search(line):
            continue
        for end in range(start + 1, len(lines)):
            if lines[end].startswith(" " * indent + "}"):
                yield start + 1, end - start + 1
                break


def python_functions(lines):
    for start, line in enumerate(lines):
        if not re.match(r"\s*def ", line):
            continue
        indent, last = len(line) - len(line.lstrip()), start
        for end in range(start + 1, len(lines)):
            text = lines[end]
            if text.strip() and len(text) - len(text.lstrip()) <= indent and not text.lstrip().startswith(")"):
                break
            last = end if text.strip() else last
        yield start + 1, last - start + 1


def tracked():
    listing = subprocess.run(["git", "ls-files", "*.cpp", "*.h", "*.py"], cwd=ROOT, check=True,
                             capture_output=True, text=True)
    return listing.stdout.split()


def main():
    failures = reports = 0
    for name in sys.argv[1:] or tracked():
        path = ROOT / name
        if path.suffix not in (".cpp", ".h", ".py") or not path.is_file():
            continue
        lines = path.read_text(errors="replace").splitlines()
        found = [(name, len(lines), FILE_LINES)] if len(lines) > FILE_LINES else []
        functions = python_functions if path.suffix == ".py" else cpp_functions
        found += [(f"{name}:{start}", length, FUNCTION_LINES)
                  for start, length in functions(lines) if length > FUNCTION_LINES]
        for place, length, limit in found:
            print(f"{place}: {length} lines ({'file' if limit == FILE_LINES else 'function'}, aim {limit})")
            reports += 1
            failures += length > 2 * limit
    print(f"sizes: {reports} over the aim, {failures} of them more than twice")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
