#!/usr/bin/env bash
# Makes images without a registry and loads them into the cluster:
#   images.sh base                                what every cluster has: pause, CoreDNS, busybox
#   images.sh programs                            what is tested: operator and sidecar from the target folder, an agent, a Prometheus
#   images.sh release TAG FOLDER                  operator and sidecar as they are in this folder
#   images.sh load NAME:TAG ROOTFS ENTRYPOINT     a folder as an image of one layer, localhost/NAME:TAG
. "$(dirname "$0")/../../scripts/lib.sh"
. e2e/cluster/lib.sh

# archive NAME:TAG ROOTFS ENTRYPOINT FILE
archive() {
    local tag=${1##*:} layout
    layout=$(mktemp -d)
    umoci init --layout "$layout/oci"
    umoci new --image "$layout/oci:$tag"
    umoci insert --image "$layout/oci:$tag" "$2" /
    umoci config --image "$layout/oci:$tag" --config.entrypoint "$3"
    mkdir -p "${4%/*}"
    tar -C "$layout/oci" -cf "$4.new" .
    mv "$4.new" "$4"
    rm -rf "$layout"
}
load() { ctr image import --base-name "localhost/${1%%:*}" "$2" >/dev/null; }

busybox_rootfs() {
    mkdir -p "$1"/{bin,tmp,etc,root}
    chmod 1777 "$1/tmp"
    cp "$(command -v busybox)" "$1/bin/busybox"
    local applet
    for applet in $("$1/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"
    done
}

# base_image NAME:TAG FILE COMMAND...: what never changes, made once; the command fills the folder and prints the entrypoint.
base_image() {
    local root entrypoint image=$1 file=$2
    shift 2
    if [ ! -e "$file" ]; then
        root=$(mktemp -d)
        chmod 755 "$root"
        entrypoint=$("$@" "$root")
        archive "$image" "$root" "$entrypoint" "$file"
        rm -rf "$root"
    fi
    load "$image" "$file"
}
busybox_image() { busybox_rootfs "$1"; echo /bin/sh; }
# Holds the namespaces of a pod: it only has to stay.
pause_image() {
    busybox_rootfs "$1"
    printf '#!/bin/sh\ntrap "exit 0" TERM INT\nwhile :; do sleep 3600 & wait $!; done\n' >"$1/pause"
    chmod 755 "$1/pause"
    echo /pause
}
coredns_image() {
    mkdir -p "$1/etc"
    cp "$coredns/coredns" "$1/coredns"
    echo /coredns
}

# program ROOTFS PROGRAM AT: a program of this machine with the libraries that it links, and without what only debuggers read.
program() {
    local library
    mkdir -p "$1${3%/*}"
    strip -o "$1$3" "$2"
    for library in $(ldd "$2" | grep -o '/[^ ]*'); do
        [ -e "$1$library" ] || { mkdir -p "$1${library%/*}" && cp -L "$library" "$1$library"; }
    done
}

# programs_image NAME:TAG FILL: as it is now.
programs_image() {
    local root entrypoint
    root=$(mktemp -d)
    chmod 755 "$root"
    entrypoint=$("$2" "$root")
    "$0" load "$1" "$root" "$entrypoint"
    rm -rf "$root"
}
built=$target/debug
operator_image() { program "$1" "$built/agentaccess-operator" /agentaccess-operator; echo /agentaccess-operator; }
sidecar_image() {
    program "$1" "$built/agentaccess-sidecar" /agentaccess-sidecar
    # Reads the recordings where they are.
    program "$1" "$built/agentaccess" /agentaccess
    echo /agentaccess-sidecar
}
prometheus=$target/tools/prometheus/usr/bin/prometheus
prometheus_image() { program "$1" "$prometheus" /prometheus; echo /prometheus; }
# What the quick start takes from docker.io/library/postgres, for the database and for the agent's psql; and what tests
# try as an agent.
postgres_image() {
    local bin name
    bin=$(compgen -G '/usr/lib/postgresql/*/bin' | tail -n 1)
    busybox_rootfs "$1"
    mkdir -p "$1${bin%/bin}" "$1/usr/share" "$1/docker-entrypoint-initdb.d" "$1/var/lib/postgresql/data" "$1/usr/local/bin"
    for name in postgres initdb psql; do
        program "$1" "$bin/$name" "$bin/$name"
        ln -s "$bin/$name" "$1/usr/local/bin/$name"
    done
    program "$1" "$target/debug/vsock" /usr/local/bin/vsock
    # busybox's own TLS ends in a crash.
    program "$1" "$(command -v openssl)" /usr/local/bin/openssl
    cp -r "${bin%/bin}/lib" "$1${bin%/bin}/lib"
    cp -r --parents "/usr/share/postgresql/$(basename "${bin%/bin}")" /usr/share/zoneinfo "$1"
    chmod 1777 "$1/var/lib/postgresql/data"
    # It looks its user up.
    printf 'root:x:0:0::/:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n' >"$1/etc/passwd"
    install -m 755 e2e/cluster/config/postgres-entrypoint.sh "$1/entrypoint.sh"
    echo /entrypoint.sh
}

case ${1:-} in
    programs)
        pids=()
        for image in operator sidecar postgres; do
            programs_image "$image:1" "${image}_image" &
            pids+=($!)
        done
        base_image prometheus:1 "$cache/images/prometheus-$(stat -Lc %s-%Y "$prometheus").tar" prometheus_image &
        pids+=($!)
        for pid in "${pids[@]}"; do wait "$pid"; done
        ;;
    release)
        [ $# = 3 ] || fail 'usage: images.sh release TAG FOLDER'
        built=$3
        for image in operator sidecar; do programs_image "$image:$2" "${image}_image"; done
        ;;
    base)
        base_image pause:1 "$cache/images/pause.tar" pause_image
        base_image busybox:1 "$cache/images/busybox.tar" busybox_image
        base_image coredns:1 "$cache/images/coredns-$coredns_version.tar" coredns_image
        ;;
    load)
        [ $# = 4 ] || fail 'usage: images.sh load NAME:TAG ROOTFS ENTRYPOINT'
        file=$state/images/${2%%:*}.tar
        archive "$2" "$3" "$4" "$file"
        load "$2" "$file"
        rm "$file"
        ;;
    *) fail 'usage: images.sh base | programs | release TAG FOLDER | load NAME:TAG ROOTFS ENTRYPOINT' ;;
esac
