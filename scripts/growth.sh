#!/usr/bin/env bash
# Whether an operation costs more with 1,000 rules, with 1,000 connections, or behind a recording of 1 GiB: the sidecar as it is
# shipped, but for thin LTO. Keeps the figures in docs/evidence/growth.json. Needs 2 GiB of disk.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build database
cargo build --locked --quiet --profile bench -p sidecar -p e2e --bins
AGENTACCESS_BIN_DIR=$target/release "$target/release/growth"
