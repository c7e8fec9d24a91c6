#!/usr/bin/env bash
# Thousands of sidecars on one operator, on a cluster of its own: what the operator needs, and how soon all of them hear of
# a change. Keeps the figures in docs/evidence/scale.json.
#   PODS=5000  POLICIES=500
. "$(dirname "$0")/lib.sh"
. scripts/job.sh

say 'building: the operator with the profile bench'
cargo build --locked --quiet --profile bench -p operator --bins
export OPERATOR=$target/release/agentaccess-operator
prepared cluster_scale

say "${PODS:-5000} sidecars, ${POLICIES:-500} policies"
"${tests[@]}" -- --nocapture
