#!/usr/bin/env bash
# Rotates the operator's CA and the credential of a target, again and again while agents work and pods are made, on a
# cluster of its own. Keeps what it saw in docs/evidence/rotate.json, rotation by rotation, and goes on from there when it is
# run again and what ships is the same.
#   N=100   of each kind; a CA takes about a minute
. "$(dirname "$0")/lib.sh"
. scripts/job.sh

prepared cluster_lifecycle
e2e/cluster/install.sh

say "${N:-100} rotations of a credential"
"${tests[@]}" -- --nocapture --test-threads=1 credentials::
say "${N:-100} rotations of the CA"
"${tests[@]}" -- --nocapture authority::
