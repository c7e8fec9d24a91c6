#!/usr/bin/env bash
# Makes images without a registry and loads them into the cluster:
#   images.sh base                                what every cluster has: pause, CoreDNS, busybox
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

# base_image NAME:TAG FILE COMMAND...: made once; the command fills the folder and prints the entrypoint.
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

case ${1:-} in
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
    *) fail 'usage: images.sh base | load NAME:TAG ROOTFS ENTRYPOINT' ;;
esac
