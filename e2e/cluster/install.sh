#!/usr/bin/env bash
# Installs the chart on our own cluster, with a volume for recordings: what an administrator does.
#   install.sh [SOURCE TAG]   that of another commit, with the values that it had, and images of this tag
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
. e2e/cluster/lib.sh

export KUBECONFIG=$kubeconfig
namespace=agentaccess-system
# The kubelet makes no folder that the operator may write.
install -d -m 0770 -o 65532 -g 65532 "$state/recordings"
kubectl create namespace "$namespace" --dry-run=client -o yaml | kubectl apply --filename - >/dev/null
sed "s|@STATE@|$state|g" e2e/cluster/config/recordings.yaml | kubectl apply --filename - >/dev/null
more=()
[ -z "${2:-}" ] || more=(--set "image.tag=$2" --set "sidecar.image.tag=$2")
helm upgrade --install agentaccess "${1:-.}/charts/agentaccess" -n "$namespace" \
    -f "${1:-.}/e2e/cluster/config/chart-values.yaml" "${more[@]}" --wait --timeout 120s >/dev/null
