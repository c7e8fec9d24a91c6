#!/usr/bin/env bash
# Thousands of sidecars on one operator, on a cluster of its own: what the operator needs, and how soon all of them hear of
# a change. Keeps the figures in docs/evidence/scale.json.
#   PODS=5000  POLICIES=500
. "$(dirname "$0")/lib.sh"
. e2e/cluster/lib.sh

scripts/setup.sh build cluster
export KUBECONFIG=$kubeconfig
trap 'e2e/cluster/down.sh' EXIT

say 'building: the operator with the profile bench'
cargo build --locked --quiet --profile bench -p operator --bins
export OPERATOR=$target/release/agentaccess-operator
tests=(cargo test --locked --workspace --features e2e/cluster,operator/cluster --test cluster_scale)
"${tests[@]}" --quiet --no-run
e2e/cluster/up.sh

say "${PODS:-5000} sidecars, ${POLICIES:-500} policies"
"${tests[@]}" -- --nocapture
