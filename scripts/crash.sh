#!/usr/bin/env bash
# Kills sidecars and operators at random while agents work, on a cluster of its own. Keeps what it saw in
# docs/evidence/crash.json, round by round, and goes on from there when it is run again for the same commit.
#   N=200
. "$(dirname "$0")/lib.sh"
. e2e/cluster/lib.sh

scripts/setup.sh build chart cluster
export KUBECONFIG=$kubeconfig
trap 'e2e/cluster/down.sh' EXIT

say 'building the programs and the test'
cargo build --locked --quiet --workspace --bins
tests=(cargo test --locked --workspace --features e2e/cluster,operator/cluster --test cluster_crash)
"${tests[@]}" --quiet --no-run
e2e/cluster/up.sh
e2e/cluster/images.sh programs
e2e/cluster/install.sh

say "killing ${N:-200} sidecars and a quarter as many operators"
"${tests[@]}" -- --nocapture
