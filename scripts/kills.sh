#!/usr/bin/env bash
# Kills sidecars while agents work: at random, at each failpoint a hundred times, and PostgreSQL before one in ten. Keeps
# what it saw in docs/evidence/kills.json, round by round, and goes on from there when what ships is the same.
#   N=10000
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build database
# Thousands of starts: optimised they take a third. Cargo puts the profile `bench` where it puts `release`.
say 'building with the profile bench'
cargo build --locked --quiet --profile bench -p sidecar --bins --features sidecar/failpoints
# Moved, so that nobody takes it for the one that ships.
mv "$target/release/agentaccess-sidecar" "$target/release/agentaccess-sidecar-failpoints"
cargo build --locked --quiet --profile bench -p cli -p e2e --bins
export AGENTACCESS_BIN_DIR=$target/release
"$target/release/kills"
