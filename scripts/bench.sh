#!/usr/bin/env bash
# Measures direct, a raw relay, the sidecar and pgbouncer in one run; see docs/benchmarks.md. With AGENTACCESS_BIN_DIR
# the sidecar there is measured, as it is.
#   BENCH_ONLY=select,simple,1  only these cases, modes and clients     BENCH_ROUNDS=3  BENCH_SECONDS=2  BENCH_SCALE=10
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build bench
# Cargo puts the profile `bench` where it puts `release`.
say 'building with the profile bench'
packages=(-p e2e)
if [ -z "${AGENTACCESS_BIN_DIR:-}" ]; then
    packages+=(-p sidecar)
    export AGENTACCESS_BIN_DIR=$target/release
fi
cargo build --locked --quiet --profile bench "${packages[@]}" --bins
export AGENTACCESS_PGBOUNCER=$target/tools/pgbouncer/usr/sbin/pgbouncer
"$target/release/bench" "$target/bench/results.json"
