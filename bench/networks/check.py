"""Runs `tenon check` and `tenon compile` on every built network and lists those that fail.

    bench/networks/check.py --tenon build/bin/tenon --output build/networks [--filter NAME] [--batch 1,4]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its files are a package

from networks.catalogue import all_networks  # noqa: E402

LIMIT_SECONDS = 300


def shape_options(shapes: dict[str, list[int]]) -> list[str]:
    return [f"--input-shape={name}:{','.join(map(str, sizes))}" for name, sizes in shapes.items()]


def run(command: list[str]) -> tuple[bool, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False, f"still running after {LIMIT_SECONDS} s"
    return done.returncode == 0, (done.stderr or done.stdout).strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenon", default="build/bin/tenon", help="the command line tool")
    parser.add_argument("--output", type=Path, default=Path("build/networks"), help="folder that build.py filled")
    parser.add_argument("--filter", default="", help="only networks with this in their name")
    parser.add_argument("--batch", default="1,4", help="batches to compile for, where the file leaves it open")
    given = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        target = str(Path(scratch) / "model.tenon")
        for name, network in sorted(all_networks().items()):
            if given.filter not in name:
                continue
            batches = [int(b) for b in given.batch.split(",")] if network.dynamic else network.batches
            for batch in batches:
                path = given.output / network.file(batch)
                if not path.exists():
                    continue
                shapes = shape_options(network.shapes(batch))
                begun = time.monotonic()
                good, said = run([given.tenon, "check", "--summary", str(path), *shapes])
                if good:
                    good, said = run([given.tenon, "compile", "--no-verify", str(path), "-o", target, *shapes])
                seconds = time.monotonic() - begun
                print(f"{'ok  ' if good else 'FAIL'} {path.name} batch {batch} {seconds:.1f} s", flush=True)
                if not good:
                    failed += 1
                    print("     " + said[-600:].replace("\n", "\n     "), flush=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
