# Sourced by the scripts beside it: strict mode, the project's root as working folder, messages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
PROGRAM=$(basename "$0")

say() { printf '%s\n' "== $*"; }
die() {  # die MESSAGE [EXIT_STATUS]: 2 usage, 3 environment
  printf '%s: %s\n' "$PROGRAM" "$1" >&2
  exit "${2:-1}"
}
# The help of a script is the comment that opens it.
show_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$root/scripts/$PROGRAM"; }
need_value() { [ $# -ge 2 ] && [ -n "$2" ] || die "$1 needs a value; see --help" 2; }
need_setup() { [ -x .venv/bin/python ] || die "no .venv here; run scripts/setup first" 3; }
