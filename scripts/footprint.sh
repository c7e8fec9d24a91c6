#!/usr/bin/env bash
# What one sidecar weighs, built as it is shipped: its program, its start, its memory idle, with 1,000 TLS sessions, and before an
# agent that asks for 1 GiB and does not read it. Keeps the figures in docs/evidence/footprint.json.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build database
say 'building as shipped: fat LTO takes minutes'
cargo build --locked --quiet --release -p sidecar --bins
cargo build --locked --quiet -p e2e --bins
AGENTACCESS_BIN_DIR=$target/release "$target/debug/footprint"
