"""Builds the networks as ONNX files with random weights, those that are missing, and says what each one is.

    bench/networks/build.py --output build/networks                    # all of them
    bench/networks/build.py --output build/networks --filter resnet --jobs 2
    bench/networks/build.py --list

Needs torch, torchvision, timm, transformers and onnx (requirements/networks.txt). The multiply-adds are counted
over the ONNX graph; where a figure is published, one that differs by more than 8 % is marked.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its files are a package

from networks.catalogue import Network, all_networks  # noqa: E402

TOLERANCE = 0.08


def build_one(job: tuple[str, int, str]) -> dict:
    name, batch, folder = job
    network = all_networks()[name]
    begun = time.monotonic()
    made = {"name": name, "file": network.file(batch)}
    try:
        from networks import export, macs

        model = export.build(network, batch, Path(folder))
        made |= macs.count(model, network.shapes(1 if network.dynamic else batch))
        made["macs_batch"] = 1 if network.dynamic else batch
        if made["uncounted"] and not network.onnx_graph:  # sizes that the graph computes: ask torch
            made |= {"macs": macs.count_torch(network, made["macs_batch"]), "uncounted": 0}
    except Exception as error:  # one network that fails must not end the others
        made["error"] = "".join(traceback.format_exception_only(error)).strip().replace("\n", " ")[:600]
        made["trace"] = traceback.format_exc()
    made["seconds"] = round(time.monotonic() - begun, 1)
    return made


def sheet(network: Network, made: dict) -> str:
    if "error" in made:
        return f"{made['file']:44} FAILED {made['error'][:200]}"
    gmacs = made["macs"] / made["macs_batch"] / 1e9
    published = ""
    if network.gmacs:
        off = abs(gmacs / network.gmacs - 1) > TOLERANCE
        published = f"{network.gmacs:8.2f}{' DIFFERS' if off else ''}"
    unknown = f" ({made['uncounted']} layers uncounted)" if made["uncounted"] else ""
    inputs = " ".join(f"{n}:{'x'.join(map(str, s))}" for n, s in network.shapes(made["macs_batch"]).items())
    return f"{made['file']:44} {gmacs:9.3f} {made['parameters'] / 1e6:8.2f} {published:>9}  {inputs}{unknown}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/networks"), help="folder of the files")
    parser.add_argument("--filter", default="", help="only networks with this in their name")
    parser.add_argument("--list", action="store_true", help="say what there is, build nothing")
    parser.add_argument("--jobs", type=int, default=1, help="processes that build at once")
    parser.add_argument("--again", action="store_true", help="also those that are there")
    parser.add_argument("--trace", action="store_true", help="print where a failure happened")
    given = parser.parse_args()
    chosen = {n: v for n, v in sorted(all_networks().items()) if given.filter in n}
    if given.list:
        for network in chosen.values():
            print(f"{network.name:40} {network.group:28} {network.shapes(1)}")
        return 0
    given.output.mkdir(parents=True, exist_ok=True)
    index = given.output / "networks.json"

    def read_index() -> dict:
        return json.loads(index.read_text()) if index.exists() else {}

    known = read_index()
    jobs = [
        (n, batch, str(given.output))
        for n, network in chosen.items()
        for file, batch in network.files()
        if given.again or not (given.output / file).exists() or file not in known
    ]
    print(f"{'file':44} {'GMACs':>9} {'M params':>8} {'published':>9}  inputs of one sample")
    failed = 0
    spawn = multiprocessing.get_context("spawn")
    # New processes now and then, for what torch keeps of each network (max_tasks_per_child may hang).
    some = 12 * given.jobs
    for begin in range(0, len(jobs), some):
        with ProcessPoolExecutor(given.jobs, mp_context=spawn) as pool:
            for made in pool.map(build_one, jobs[begin : begin + some]):
                print(sheet(chosen[made["name"]], made), flush=True)
                failed += "error" in made
                if given.trace and "error" in made:
                    print(made["trace"])
                made.pop("trace", None)
                if "error" not in made:
                    known = read_index() | {made["file"]: made}  # another build may have written since
                    index.write_text(json.dumps(known, indent=1, sort_keys=True))
    built = {file for file, *_ in jobs}
    for network in chosen.values():
        for file, _ in network.files():
            if network.name not in {n for n, *_ in jobs} and file in known and file not in built:
                print(sheet(network, known[file]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
