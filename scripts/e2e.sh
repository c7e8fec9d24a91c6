#!/usr/bin/env bash
# Tests on a real Kubernetes: brings a cluster up, installs the chart, runs e2e/tests/cluster_*, takes the cluster down.
#
# With KUBECONFIG set it uses that cluster and leaves it there. It must be one that nobody needs: namespaces, roles and
# the release `agentaccess` come and go. It must hold the images that e2e/cluster/config/chart-values.yaml names.
. "$(dirname "$0")/lib.sh"
. e2e/cluster/lib.sh

scripts/setup.sh build chart
own=
# What runs beside the rest, by its output.
declare -A beside=()
# What the tests that were waited for last said.
said=$(mktemp)
if [ -z "${KUBECONFIG:-}" ]; then
    scripts/setup.sh cluster
    own=1
    export KUBECONFIG=$kubeconfig
fi
namespace=agentaccess-system
export PATH=$target/tools/prometheus/usr/bin:$PATH

ended() {
    local status=$? output
    if [ "$status" != 0 ]; then
        say 'what the cluster says'
        kubectl get pods,events -A --request-timeout=10s 2>&1 | tail -n 60 || true
        kubectl -n "$namespace" logs --selector app.kubernetes.io/name=agentaccess --tail=100 --prefix \
            --request-timeout=10s 2>&1 || true
        [ -z "$own" ] || tail -n 20 "$state"/log/kube-apiserver "$state"/log/kubelet 2>/dev/null || true
    fi
    for output in "${!beside[@]}"; do
        kill -- "-${beside[$output]}" 2>/dev/null || true
        [ "$status" = 0 ] || tail -n 40 "$output"
    done
    [ -z "$own" ] || e2e/cluster/down.sh
    # Last, where it is looked for first.
    if [ "$status" != 0 ]; then
        say 'what failed'
        tail -n 40 "$said" | cut -c1-600
    fi
    rm -f "$said"
    exit "$status"
}
trap ended EXIT

# The whole workspace each time: of a part of it dependencies would have other features, and be built again.
tests() { cargo test --locked --workspace --features e2e/cluster,operator/cluster "$@"; }
shown() { "$@" 2>&1 | tee "$said"; }

# beside OUTPUT COMMAND...: in a process group of its own, so that when something else fails it ends as a whole.
beside() {
    set -m
    "${@:2}" >"$1" 2>&1 &
    beside[$1]=$!
    set +m
}
joined() {
    local status=0
    wait "${beside[$1]}" || status=$?
    unset "beside[$1]"
    tee "$said" <"$1"
    rm "$1"
    return $status
}

say 'building the programs and the tests'
cargo build --locked --quiet --workspace --bins
tests --quiet --no-run --test 'cluster_*'
[ -z "$own" ] || e2e/cluster/up.sh
[ -z "$own" ] || e2e/cluster/images.sh programs

# These are dialled by the API server, or dial pods, where our own cluster finds this machine.
if [ -n "$own" ]; then
    say 'the operator without its chart'
    shown tests --test cluster_control
fi

scripts/chart.sh server

say 'installing the chart'
# Of a cluster that is not ours we know no folder of a node.
if [ -n "$own" ]; then e2e/cluster/install.sh
else
    helm upgrade --install agentaccess charts/agentaccess -n "$namespace" --create-namespace \
        -f e2e/cluster/config/chart-values.yaml --set recordings.store.claim= --wait --timeout 120s >/dev/null
fi

say 'what takes minutes of waiting, beside the rest'
patience=$(mktemp)
waiting=(token::)
[ -z "$own" ] || waiting+=(recordings::)
beside "$patience" tests --test cluster_patience "$@" -- "${waiting[@]}"

say 'agents in their pods'
# Each test is a database, a sidecar or two and kubectl; most of the time they wait.
shown tests --test cluster_governed "$@" -- --test-threads=8
shown tests --test cluster_patience "$@" -- ca:: --nocapture
shown tests --test cluster_outage "$@" -- --test-threads=1

say 'the second wall: without webhook and without operator'
kubectl -n "$namespace" scale deployment/agentaccess-operator --replicas=0 >/dev/null
kubectl delete mutatingwebhookconfiguration agentaccess --ignore-not-found >/dev/null
if [ -n "$own" ]; then
    say 'approvals: the operator in a process of the test'
    approvals=$(mktemp)
    beside "$approvals" tests --test cluster_approvals
fi
shown tests --test cluster_wall "$@"
[ -z "$own" ] || joined "$approvals"
joined "$patience"

if [ -n "$own" ]; then
    say 'every recording of all that ran'
    shown tests --test cluster_recordings "$@" -- --nocapture
fi

# Last: it removes the chart.
say 'the chart'
shown tests --test cluster_chart "$@"
