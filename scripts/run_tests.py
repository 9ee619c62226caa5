"""Runs the test suites of a build folder one after the other, each on all cores, passes their output through and
adds up their counts. Called by scripts/test, which sets up and builds first."""
import argparse
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS = os.cpu_count()
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Counts(self.passed + other.passed, self.failed + other.failed,
                      self.skipped + other.skipped)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(command, **options):
    """Runs a command and returns its exit status; says so when it is absent or died of a signal."""
    try:
        status = subprocess.run(command, cwd=ROOT, **options).returncode
    except OSError as error:
        print(f"{command[0]}: {error.strerror}; run scripts/build", flush=True)
        return 1
    if status < 0:
        print(f"{command[0]} was killed by signal {-status}", flush=True)
    return status


def failed_without_report(status):
    """A suite that broke before it could count still counts as one failure."""
    return Counts(failed=1 if status else 0)


def unit_tests(build, results, word, without=""):
    """Every core takes its share of the tests (GoogleTest's shards); the output of each comes when it ends."""
    def share(index):
        report = results / f"unit-{index}.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            [program, f"--gtest_output=json:{report}", "--gtest_brief=1",
             f"--gtest_filter=*{word}*{'-' if without else ''}{without}"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=dict(os.environ, GTEST_TOTAL_SHARDS=str(JOBS), GTEST_SHARD_INDEX=str(index)))
        print(done.stdout, end="", flush=True)
        if done.returncode < 0:
            print(f"{program.name} was killed by signal {-done.returncode}", flush=True)
        return unit_counts(report, done.returncode)

    program = build / "bin/tenon_unit_tests"
    if not program.exists():
        print(f"{program} is not there; run scripts/build", flush=True)
        return failed_without_report(1)
    return on_all_cores(share)


def unit_counts(report, status):
    if not report.exists():
        return failed_without_report(status or 1)
    counts = Counts()
    for suite in json.loads(report.read_text())["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("failures"):
                counts.failed += 1
            elif case.get("result") == "SKIPPED" or case.get("status") == "NOTRUN":
                counts.skipped += case.get("result") == "SKIPPED"
            else:
                counts.passed += 1
    return counts if counts.failed or not status else counts + failed_without_report(status)


def counted(command):
    """Runs a program whose last line counts its tests, and passes its output through."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace")
    counts = None
    for line in process.stdout:
        sys.stdout.write(line)
        if match := COUNTS.match(line.strip()):
            counts = Counts(*(int(group or 0) for group in match.groups()))
    status = process.wait()
    if counts is None:
        print(f"{Path(command[0]).name} ended with status {status} and no count", flush=True)
        return failed_without_report(1)
    return counts if counts.failed or not status else counts + failed_without_report(status)


def on_all_cores(share):
    """The sum of share(INDEX) for every core, run side by side."""
    with ThreadPoolExecutor(JOBS) as pool:
        return sum(pool.map(share, range(JOBS)), Counts())


def data_tests(build, results, word):
    program = build / "bin/tenon_data_tests"
    if not program.exists():
        print("no data-driven tests in this build", flush=True)
        return Counts()
    return on_all_cores(lambda index: counted([program, f"--shard={index}/{JOBS}", *([word] if word else [])]))


def model_tests(build, results, word):
    selection = ["--filter", word] if word else []
    return counted([sys.executable, "tests/e2e/models_table.py", "--build", build,
                    "--json", results / "models.json", *selection])


def chip_tests(build, results, word):
    selection = ["--filter", word] if word else []
    return counted([sys.executable, "tests/e2e/chip_models.py", "--build", build, "--budget", "300", *selection])


def python_tests(build, results, word):
    report = results / "python.xml"
    report.unlink(missing_ok=True)
    folders = [folder for folder in ("tests/python", "tests/e2e") if list((ROOT / folder).glob("test_*.py"))]
    if not folders:
        print("no Python tests", flush=True)
        return Counts()
    environment = dict(os.environ, TENON_BUILD=str(build),
                       PYTHONPATH=os.pathsep.join([str(build / "python"), os.environ.get("PYTHONPATH", "")]))
    selection = ["-k", word] if word else []
    status = run([sys.executable, "-m", "pytest", "-q", "-rfEs", f"--numprocesses={JOBS}", "--dist=loadfile",
                  f"--junitxml={report}", *selection, *folders], env=environment)
    if not report.exists():
        return failed_without_report(status or 1)
    counts = Counts()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        failed = int(suite.get("failures")) + int(suite.get("errors"))
        skipped = int(suite.get("skipped"))
        counts += Counts(int(suite.get("tests")) - failed - skipped, failed, skipped)
    no_tests_selected = 5
    if status not in (0, no_tests_selected) and not counts.failed:
        counts += failed_without_report(status)
    return counts


def fuzz_tests(build, results, word):
    """Five seconds of mutants for every parser, and the inputs that once broke one."""
    program = build / "bin/tenon_fuzz"
    if not program.exists():
        print("no fuzz targets in this build", flush=True)
        return Counts()
    return on_all_cores(lambda index: counted([program, "--root", ROOT, "--output", results / "fuzz",
                                               f"--shard={index}/{JOBS}", *([word] if word else [])]))


SUITES = {"unit": unit_tests, "data": data_tests, "fuzz": fuzz_tests, "models": model_tests,
          "chips": chip_tests, "python": python_tests}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--only", default="unit,data,fuzz,models,chips,python", help="comma-separated suites")
    parser.add_argument("--without", default="", help="unit tests to leave out, as GoogleTest's patterns: A.*:B.c")
    parser.add_argument("--filter", default="", help="a word that the tests' names must contain")
    arguments = parser.parse_args()
    build = (ROOT / arguments.build).resolve()
    results = build / "test-results"
    results.mkdir(parents=True, exist_ok=True)

    total = Counts()
    for name in arguments.only.split(","):
        if name not in SUITES:
            parser.error(f"no suite '{name}'; there are {', '.join(SUITES)}")
        print(f"== {name} tests", flush=True)
        start = time.monotonic()
        options = {"without": arguments.without} if name == "unit" else {}
        counts = SUITES[name](build, results, arguments.filter, **options)
        print(f"== {name} tests: {counts} in {time.monotonic() - start:.1f} s", flush=True)
        total += counts
    print(total, flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
