#!/usr/bin/env bash
# Everything that needs no cluster, against a real PostgreSQL. Arguments go to `cargo test`. Root is wanted for network
# namespaces: without it the tests of the fence fail, unless AGENTACCESS_WITHOUT_ROOT=1 leaves them out.
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || [ "${AGENTACCESS_WITHOUT_ROOT:-}" = 1 ] \
    || say 'not root: the tests of the fence will fail; AGENTACCESS_WITHOUT_ROOT=1 leaves them out'
scripts/setup.sh build test
scripts/build.sh
say 'running the tests'
cargo test --locked --workspace --no-fail-fast "$@"
say 'not among them: the tests on a real Kubernetes (e2e/tests/cluster_*), which `make e2e` runs'
