#!/usr/bin/env bash
# Installs an earlier commit on a cluster of its own, upgrades it to this one, goes back and comes again, while agents work
# and pods are made. Keeps what it saw in docs/evidence/upgrade.json.
#   FROM=COMMIT   with another CRD and an older contract: the last one before grants and recordings that leave their pods
. "$(dirname "$0")/lib.sh"
. scripts/job.sh

from=$(git rev-parse --verify "${FROM:-aa42ac7}^{commit}") || fail 'FROM names no commit of this repository'
# In a target of its own: members of the same name would be built anew each time.
before=$target/before
source=$before/$from/source programs=$before/$from/programs
export FROM=$from BEFORE=$source
if [ ! -e "$programs" ]; then
    say "building ${from:0:12}"
    rm -rf "$source"
    mkdir -p "$source"
    # New as of now: what was built of another commit is kept by age.
    git archive "$from" | tar -x -m -C "$source"
    (cd "$source" && CARGO_TARGET_DIR=$before/target cargo build --locked --quiet --workspace --bins)
    mkdir "$programs.new"
    cp "$before"/target/debug/agentaccess{,-operator,-sidecar} "$programs.new"
    mv "$programs.new" "$programs"
fi

prepared cluster_lifecycle
e2e/cluster/images.sh release before "$programs"
e2e/cluster/install.sh "$source" before

say "from ${from:0:12} to $(git rev-parse --short=12 HEAD) and back"
"${tests[@]}" -- --nocapture upgrade::
