#!/usr/bin/env bash
# Rotates the operator's CA and the credential of a target, again and again while agents work and pods are made, on a
# cluster of its own. Keeps what it saw in docs/evidence/rotate.json, rotation by rotation, and goes on from there when it is
# run again for the same commit.
#   N=100   of each kind; a CA takes about a minute
. "$(dirname "$0")/lib.sh"
. e2e/cluster/lib.sh

scripts/setup.sh build chart cluster
export KUBECONFIG=$kubeconfig
trap 'e2e/cluster/down.sh' EXIT

say 'building the programs and the test'
cargo build --locked --quiet --workspace --bins
tests=(cargo test --locked --workspace --features e2e/cluster,operator/cluster --test cluster_lifecycle)
"${tests[@]}" --quiet --no-run
e2e/cluster/up.sh
e2e/cluster/images.sh programs
e2e/cluster/install.sh

say "${N:-100} rotations of a credential"
"${tests[@]}" -- --nocapture --test-threads=1 credentials::
say "${N:-100} rotations of the CA"
"${tests[@]}" -- --nocapture authority::
