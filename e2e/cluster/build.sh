#!/usr/bin/env bash
# Builds the components from their published Go modules into a cache outside the checkout, once a machine and version.
. "$(dirname "$0")/../../scripts/lib.sh"
. e2e/cluster/lib.sh

have go || fail 'Go is missing: https://go.dev/dl (the cluster is built from Go modules)'
export CGO_ENABLED=0 GOFLAGS=-trimpath

if [ ! -x "$bin/kubelet" ]; then
    say "building Kubernetes $kubernetes_version and etcd (minutes, once)"
    mkdir -p "$bin"
    version=k8s.io/component-base/version
    minor=${kubernetes#*.}
    (cd e2e/cluster/components && go build -modfile="$modfile" -o "$bin/components" -ldflags \
        "-s -w -X $version.gitVersion=$kubernetes_version -X $version.gitMajor=1 -X $version.gitMinor=$minor" .)
    for component in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet; do
        ln -sf components "$bin/$component"
    done
fi
if [ ! -x "$tools/containerd" ]; then
    say "building containerd $containerd_version"
    for command in ctr containerd-shim-runc-v2 containerd; do
        GOBIN=$tools go install -ldflags '-s -w' "github.com/containerd/containerd/v2/cmd/$command@$containerd_version"
    done
fi
if [ ! -x "$coredns/coredns" ]; then
    say "building CoreDNS $coredns_version"
    GOBIN=$coredns go install -ldflags '-s -w' "github.com/coredns/coredns@$coredns_version"
fi
e2e/cluster/clients.sh
