#!/usr/bin/env bash
# Installs the chart on our own cluster, with a volume for recordings: what an administrator does.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
. e2e/cluster/lib.sh

export KUBECONFIG=$kubeconfig
namespace=agentaccess-system
# The kubelet makes no folder that the operator may write.
install -d -m 0770 -o 65532 -g 65532 "$state/recordings"
kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply --filename - >/dev/null
sed "s|@STATE@|$state|g" e2e/cluster/config/recordings.yaml | kubectl apply --filename - >/dev/null
helm upgrade --install agentaccess charts/agentaccess -n "$namespace" \
    -f e2e/cluster/config/chart-values.yaml --wait --timeout 120s >/dev/null
