"""The `tenon` command that was built here."""
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
