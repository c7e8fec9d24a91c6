# Sourced by the scripts beside it, after scripts/lib.sh: names and places of the cluster.
#
# Everything of one cluster is below $state, in one network namespace and under pids that are kept there, so that taking
# it down touches nothing else. Two clusters of different names stand side by side if their ranges differ.

name=${CLUSTER:-agentaccess}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/agentaccess
state=/var/lib/agentaccess-cluster/$name
# The machine's side of the link, and the node.
host_address=10.199.0.1 node_address=10.199.0.2
services=10.96.0.0/16 api_address=10.96.0.1 dns_address=10.96.0.10
pods=10.244.0.0/24
kubeconfig=$state/admin.conf
containerd_socket=$state/containerd/containerd.sock

. "$(dirname "${BASH_SOURCE[0]}")/versions.sh"
bin=$cache/kubernetes-$kubernetes_version/bin
tools=$cache/containerd-$containerd_version/bin
coredns=$cache/coredns-$coredns_version/bin
# kubectl and helm 4; helm 3 is beside them as helm3.
clients=$cache/clients-$(printf '%s' "$kubectl_wheel $helm3_wheel" | sha256sum | cut -c1-8)/bin
export PATH=$clients:$PATH

# In the cluster's network, not with `ip netns exec`: that remounts /sys, and the kubelet then finds no cgroups.
inside() { nsenter --net=/run/netns/"$name" "$@"; }
kube() { kubectl --kubeconfig "$kubeconfig" "$@"; }
# What it says of old cgroups is known.
ctr() { "$tools/ctr" --address "$containerd_socket" --namespace k8s.io "$@" 2> >(grep -v DEPRECATION >&2); }

# until_ SECONDS WHAT COMMAND...: tries until the command succeeds.
until_() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { "$@" >&2 || true; fail "waited in vain for: $what (logs: $state/log)"; }
        sleep 0.2
    done
}
