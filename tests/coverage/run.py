"""Measures which models of TensorFlow and Keras come out right, and writes docs/coverage.md.

    .venv-dev/bin/python tests/coverage/run.py [--family F] [--filter WORD] [--again] [--timeout S]
                                               [--results FILE] [--json] [--docs] [--list]

Needs scripts/setup --oracles and build/bin/tenon. In a process apart TensorFlow makes the model with random
weights, exports and runs it, and Tenon compiles the export and runs it on the same inputs. Floats must agree within 1e-4 of the largest value, everything else exactly. Results are kept in --results as they come:
a run that is broken off goes on where it stopped; --again measures what is there already anew.
The status is 1 when a case that was run fails.
"""
import argparse
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import harness
from harness import ROOT

FAMILIES = {
    "applications": "Every model of keras.applications: Keras 3 `model.export()` and `tf.saved_model.save` with a named "
                    "signature, and tf_keras; random weights, random images",
    "keras_hub": "Backbones of keras_hub in small configurations, random weights",
    "sequences": "Recurrent layers, control flow, decode loops, state",
    "pipelines": "Whole pipelines: text, tables, images, detection, several signatures",
}


def cases_of(family):
    return importlib.import_module(f"{family}_cases").cases()


def work(program):
    """Runs the cases whose keys come in, a line each; a line of JSON goes out for each."""
    harness.quiet()
    import keras
    families = {}
    for line in sys.stdin:
        family, name = line.strip().split("/", 1)
        known = families.setdefault(family, {case.name: case for case in cases_of(family)})
        keras.backend.clear_session()
        keras.utils.set_random_seed(zlib.crc32(line.strip().encode()) % 2**31)
        print("RESULT " + json.dumps(harness.check(known[name], program)), flush=True)


class Worker:
    """A process that runs cases one after the other; it is replaced when it dies, hangs or has done its share."""
    SHARE = 20

    def __init__(self, arguments):
        self.arguments, self.process, self.done = arguments, None, 0

    def start(self):
        self.process = subprocess.Popen([sys.executable, __file__, "--work", "--program", self.arguments.program],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True, start_new_session=True)
        self.done = 0

    def stop(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def answer(self, lines):
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                lines.append(line)
                return

    def run(self, key):
        start = time.monotonic()
        if self.process is None:
            self.start()
        self.process.stdin.write(key + "\n")
        self.process.stdin.flush()
        lines, process = [], self.process
        reader = threading.Thread(target=self.answer, args=(lines,), daemon=True)
        reader.start()
        reader.join(self.arguments.timeout)
        self.done += 1
        if lines:
            row = json.loads(lines[0][7:])
        elif reader.is_alive():
            row = {"status": "failed", "reason": f"did not end within {self.arguments.timeout:g} s"}
        else:
            row = {"status": "not made", "reason": f"the process ended with status {process.wait()}"}
        if not lines or self.done >= self.SHARE:
            self.stop()
        return {**row, "seconds": round(time.monotonic() - start, 1)}


def table(rows):
    known = {family: [case.name for case in cases_of(family)] for family in FAMILIES}
    lines = ["# Coverage", "",
             "Made by `tests/coverage/run.py --docs` from its last results: models that TensorFlow made with random weights, "
             "exported as a user exports them, compiled without any option and compared with TensorFlow's own outputs "
             "(floats within 1e-4 of the largest value, everything else equal).", "",
             "| family | cases | pass | fail | TensorFlow could not make | not measured |", "|---|---|---|---|---|---|"]
    measured = {family: {name: rows[f"{family}/{name}"] for name in sorted(known[family]) if f"{family}/{name}" in rows}
                for family in FAMILIES}
    for family, of in measured.items():
        count = {status: sum(row["status"] == status for row in of.values()) for status in ("passed", "failed", "not made")}
        lines.append(f"| {family} | {len(known[family])} | {count['passed']} | {count['failed']} | {count['not made']} | "
                     f"{len(known[family]) - len(of)} |")
    for family, text in FAMILIES.items():
        of = measured[family]
        passing = [f"`{name}`" for name, row in of.items() if row["status"] == "passed"]
        lines += ["", f"## {family}", "", text + ".", "", "Pass: " + (", ".join(passing) or "none") + "."]
        close = [f"`{name}`: {clean(row['reason'])}" for name, row in of.items() if row["status"] == "passed" and "reason" in row]
        if close:
            lines += ["", "Of these, where the network magnifies rounding so that float32 does not decide, by the result in float64 "
                          "(Tenon no more than twice as far from it as TensorFlow): " + "; ".join(close) + "."]
        rest = {name: row for name, row in of.items() if row["status"] != "passed"}
        if rest:
            lines += ["", "| case | status | reason |", "|---|---|---|"]
            lines += [f"| `{name}` | {row['status']} | {clean(row['reason'])} |" for name, row in rest.items()]
        missing = [f"`{name}`" for name in known[family] if name not in of]
        if missing:
            lines += ["", "Not measured: " + ", ".join(missing) + "."]
    return "\n".join(lines) + "\n"


def clean(text):
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.replace(str(ROOT) + "/", ""))
    return re.sub(r"\s+", " ", plain.replace("|", "\\|")).strip()[:200]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--filter", action="append", default=[], help="a word that the cases' names must contain (one of several)")
    parser.add_argument("--again", action="store_true", help="also cases that have a result")
    parser.add_argument("--failed", action="store_true", help="also cases whose result is a failure")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for a case")
    parser.add_argument("--results", type=Path, default=ROOT / "build/coverage.json")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--docs", action="store_true", help="write docs/coverage.md from all results there are")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--program", default=str(ROOT / "build/bin/tenon"))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.program)

    harness.quiet()
    keys = [case.key for family in arguments.family or FAMILIES for case in cases_of(family)
            if not arguments.filter or any(word in case.key for word in arguments.filter)]
    if arguments.list:
        return print("\n".join(keys))

    def load():
        return json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    done, failed = load(), 0
    wanted = [key for key in keys if arguments.again or key not in done
              or (arguments.failed and done[key]["status"] != "passed")]
    worker = Worker(arguments)
    for index, key in enumerate(wanted, 1):
        row = worker.run(key)
        rows = load() | {key: row}  # another run may have written meanwhile
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        temporary = arguments.results.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(rows, indent=1, sort_keys=True))
        temporary.replace(arguments.results)
        failed += row["status"] == "failed"
        detail = f"{row['error']:.1e}" if "error" in row else row["reason"]
        print(f"[{index}/{len(wanted)}] {key:50s} {row['status']:8s} {row['seconds']:6.1f} s  {detail}",
              file=sys.stderr if arguments.json else sys.stdout, flush=True)
    worker.stop()
    rows = load()
    if arguments.json:
        print(json.dumps({key: rows[key] for key in keys if key in rows}, indent=1))
    if arguments.docs:
        (ROOT / "docs/coverage.md").write_text(table(rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
