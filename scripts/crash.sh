#!/usr/bin/env bash
# Kills sidecars and operators at random while agents work, on a cluster of its own. Keeps what it saw in
# docs/evidence/crash.json, round by round, and goes on from there when it is run again and what ships is the same.
#   N=200
. "$(dirname "$0")/lib.sh"
. scripts/job.sh

prepared cluster_crash
e2e/cluster/install.sh

say "killing ${N:-200} sidecars and a quarter as many operators"
"${tests[@]}" -- --nocapture
