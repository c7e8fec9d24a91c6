#!/usr/bin/env bash
# Everything that needs no cluster, against a real PostgreSQL. Arguments go to `cargo test`.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build test
scripts/build.sh
say 'running the tests'
cargo test --locked --workspace --no-fail-fast "$@"
say 'not among them: the tests on a real Kubernetes (e2e/tests/cluster_*), which `make e2e` runs'
