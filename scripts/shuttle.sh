#!/usr/bin/env bash
# The recording's writer under a scheduler that chooses who goes on: its locks are other ones there, so it is built apart.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build
export CARGO_TARGET_DIR=$target/shuttle
RUSTFLAGS='--cfg shuttle' cargo test --locked --quiet -p recording --test scheduled
