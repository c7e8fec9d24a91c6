#!/usr/bin/env bash
# Takes the cluster down: its processes by their pids, its containers, mounts, network namespaces and files.
. "$(dirname "$0")/../../scripts/lib.sh"
. e2e/cluster/lib.sh

[ "$(id -u)" = 0 ] || fail 'the cluster needs root'
# Nothing of it is kept, so nobody is asked to end well.
stop() {
    local pid
    pid=$(cat "$state/pids/$1" 2>/dev/null) || return 0
    kill -9 "$pid" 2>/dev/null || return 0
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.05; done
}
# Who restarts containers goes first.
for component in kubelet kube-proxy kube-scheduler kube-controller-manager; do stop "$component"; done
if [ -S "$containerd_socket" ] && [ -x "$tools/ctr" ]; then
    for task in $(timeout 10 "$tools/ctr" -a "$containerd_socket" -n k8s.io task ls -q 2>/dev/null); do
        timeout 10 "$tools/ctr" -a "$containerd_socket" -n k8s.io task kill -s SIGKILL "$task" >/dev/null 2>&1 || true
    done
fi
for component in containerd kube-apiserver etcd; do stop "$component"; done
# Shims outlive containerd; they name their socket below our folder.
pkill -9 -f -- "-address $containerd_socket" 2>/dev/null || true
awk -v below="$state/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount -l "$mount" 2>/dev/null || true
done
if [ -e "$state/link" ]; then ip link delete "$(cat "$state/link")" 2>/dev/null || true; fi
ip netns delete "$name" 2>/dev/null || true
rm -rf "$state"
