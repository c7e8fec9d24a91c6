# Sourced by the scripts beside it: where things are, and how they speak.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR=$target
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}

if [ -t 1 ]; then say() { printf '\033[1m==> %s\033[0m\n' "$*"; }; else say() { printf '==> %s\n' "$*"; }; fi
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
# A program, not one of our functions of that name.
have() { type -P "$1" >/dev/null; }
