#!/usr/bin/env bash
# Mixed traffic through one sidecar for N minutes after two to warm up: memory, descriptors and latency over time. Keeps the
# figures in docs/evidence/soak.json.
#   N=60
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build bench
say 'building with the profile bench'
cargo build --locked --quiet --profile bench -p e2e -p sidecar -p cli --bins
say "${N:-60} minutes of traffic"
AGENTACCESS_BIN_DIR=$target/release "$target/release/soak" "${N:-60}"
