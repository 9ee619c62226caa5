"""Writes src/runtime/load_order.txt: the functions that loading and a first run of models use, for the linker to lay side by side.

    load_order.py FILE.tenon…    (of several kinds of network; needs valgrind and a build, takes minutes)

Pages of code that nobody has used yet cost some microseconds each, more than all else that a small model takes
to load. A function that is not listed, or not there any more, costs no more than that: the list is made anew when
loading has changed a lot. Those that most of the files use come first.
"""
import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where a load begins and ends; none of them calls another.
COLLECT = ("_ZN5tenon7runtime5Model4load*", "_ZNK5tenon7runtime5Model8function*", "_ZNK5tenon7runtime8Function8run_into*")
# Valgrind has no AVX-512: a kernel stands for the same of every instruction set, and all sets have tables that are filled.
AVX2 = "_ZN5tenon3cpu4avx2"
WIDER = ("_ZN5tenon3cpu6avx512",)
TABLES = re.compile(r"_ZN5tenon3cpu\d+[a-z0-9_]+?\d+(fill_[a-z_]+|[a-z0-9]+_table)E?v?")
# The C interface and what it and Python's do to have a function ready, which `tenon bench` does without.
INTERFACE = re.compile(r"^tenon_(model|function|result)_|^_ZN5tenon7runtime.*(8hand_out|7guarded|11prepare_run)"
                       r"|^_ZNK?5tenon7runtime(8Function|5State|8PortInfo)|_ZN5tenon15dtype_long_name")


def functions_of(callgrind):
    """The names in a file of callgrind's, which are written out once and have a number from then on."""
    names, seen = {}, set()
    for line in callgrind.read_text().splitlines():
        if found := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line):
            kind, number, name = found.groups()
            if name:
                names[number] = re.sub(r"'\d+$", "", name.strip())
            if kind == "fn":
                seen.add(names[number])
    return seen


def used_by(file):
    with tempfile.TemporaryDirectory(prefix="tenon-order-") as folder:
        out = Path(folder) / "calls"
        subprocess.run(["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={out}",
                        *(f"--toggle-collect={name}" for name in COLLECT),
                        ROOT / "build/bin/tenon", "bench", file, "--threads", "1", "--warmup", "0", "--runs", "1"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return functions_of(out)


def in_library():
    listed = subprocess.run(["nm", "--defined-only", ROOT / "build/lib/libtenon_runtime.so"], check=True, capture_output=True, text=True).stdout
    return {line.split()[2] for line in listed.splitlines() if line.split()[1] in "tTwW"}


def main():
    files = sys.argv[1:]
    if not files or files[0].startswith("-"):
        sys.exit(__doc__)
    there, counts = in_library(), collections.Counter()
    for file in files:
        used = used_by(file)
        used |= {wider + name.removeprefix(AVX2) for name in used if name.startswith(AVX2) for wider in WIDER}
        counts.update(name for name in used if name in there)
    for name in there:
        if INTERFACE.match(name) or TABLES.match(name):
            counts[name] = len(files)
    if not counts:
        sys.exit("nothing was collected: is the build one with symbols?")
    order = sorted(counts, key=lambda name: (-counts[name], name))
    (ROOT / "src/runtime/load_order.txt").write_text("\n".join(order) + "\n")
    print(f"{len(order)} functions of {len(files)} files")


if __name__ == "__main__":
    main()
