"""The `tenon` command that was built here, and what was measured with it."""
import hashlib
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TENON = ROOT / "build/bin/tenon"


def tool(*arguments, accepted=(0,), **environment):
    """What it prints; another exit status than the accepted ones is a RuntimeError with its complaint."""
    done = subprocess.run([TENON, *map(str, arguments)], capture_output=True, text=True, env=os.environ | environment)
    if done.returncode not in accepted:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


class Kept:
    """Results by name in a file, of this build of the command: those of another one are forgotten."""

    def __init__(self, path):
        self.path, self.results = path, {}
        self.build = hashlib.sha256(TENON.read_bytes()).hexdigest()
        if path.exists():
            kept = json.loads(path.read_text())
            self.results = kept["results"] if kept["build"] == self.build else {}

    def get(self, name, measure):
        if name not in self.results:
            self.results[name] = measure()
            self.path.write_text(json.dumps({"build": self.build, "results": self.results}))
        return self.results[name]
