#!/usr/bin/env bash
# Everything that needs no cluster, against a real PostgreSQL. Arguments go to `cargo test`.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build test
scripts/build.sh
say 'running the tests'
cargo test --locked --workspace --no-fail-fast "$@"
