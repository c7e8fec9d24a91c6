#!/usr/bin/env bash
# Brings the cluster up and prints how to reach it. A cluster that stands is left as it is.
. "$(dirname "$0")/../../scripts/lib.sh"
. e2e/cluster/lib.sh

[ "$(id -u)" = 0 ] || fail 'the cluster needs root: it makes a network namespace, containers and cgroups'
for tool in runc nft umoci busybox conntrack ip openssl python3; do
    have "$tool" || fail "$tool is missing: scripts/setup.sh cluster installs it"
done
if [ -e "$state/pids/kubelet" ] && kube get --raw /readyz >/dev/null 2>&1; then
    say "cluster $name stands: export KUBECONFIG=$kubeconfig"
    exit 0
fi
e2e/cluster/build.sh
e2e/cluster/down.sh
mkdir -p "$state"/{pids,log,pki,containerd,kubelet,cni,images,etcd}
started=$SECONDS

# === network ===

ip netns add "$name"
link=$(printf '%s' "$name" | sha256sum | cut -c1-8)
ip link add "v$link" type veth peer name eth0 netns "$name"
ip addr add "$host_address/30" dev "v$link"
ip link set "v$link" up
inside ip addr add "$node_address/30" dev eth0
inside ip link set eth0 up
inside ip link set lo up
inside ip route add default via "$host_address"
inside sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip route replace "$services" via "$node_address"
ip route replace "$pods" via "$node_address"
echo "v$link" >"$state/link"

# === certificates ===

cd "$state/pki"
quietly() { "$@" 2>>"$state/log/openssl" >/dev/null; }
ca() {
    quietly openssl ecparam -name prime256v1 -genkey -noout -out ca.key
    quietly openssl req -x509 -new -key ca.key -subj /CN=agentaccess-test-cluster -days 30 -out ca.crt
    quietly openssl ecparam -name prime256v1 -genkey -noout -out sa.key
    quietly openssl ec -in sa.key -pubout -out sa.pub
}
# certificate NAME SUBJECT [NAMES]: for servers if it has names, always for clients.
certificate() {
    local extensions='extendedKeyUsage=clientAuth'
    [ -z "${3:-}" ] || extensions="extendedKeyUsage=clientAuth,serverAuth
subjectAltName=$3"
    quietly openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
    quietly openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    quietly openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
        -extfile <(printf '%s\n' "$extensions") -out "$1.crt"
}
# config NAME: a kubeconfig of that certificate.
config() {
    cat >"$state/$1.conf" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$node_address:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: test, context: {cluster: test, user: $1}}]
current-context: test
EOF
}
ca
in_cluster=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
certificate apiserver /CN=kube-apiserver "$in_cluster,DNS:localhost,IP:127.0.0.1,IP:$node_address,IP:$api_address"
certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
certificate front-proxy /CN=front-proxy
certificate kubelet-serving /O=system:nodes/CN=system:node:node "DNS:node,IP:$node_address"
certificate admin /O=system:masters/CN=admin
certificate kube-controller-manager /CN=system:kube-controller-manager
certificate kube-scheduler /CN=system:kube-scheduler
certificate kube-proxy /O=system:node-proxier/CN=system:kube-proxy
certificate kubelet /O=system:nodes/CN=system:node:node
for who in admin kube-controller-manager kube-scheduler kube-proxy kubelet; do config "$who"; done
cd - >/dev/null

# === processes ===

# start NAME COMMAND...: in the cluster's network, with its pid kept.
start() {
    local what=$1
    shift
    setsid nsenter --net=/run/netns/"$name" "$@" >"$state/log/$what" 2>&1 </dev/null &
    echo $! >"$state/pids/$what"
}
pki=$state/pki
render() { sed -e "s|@STATE@|$state|g;s|@DNS@|$dns_address|g;s|@PODS@|$pods|g;s|@NODE@|$node_address|g" "e2e/cluster/config/$1"; }
render containerd.toml >"$state/containerd/config.toml"
render kubelet.yaml >"$state/kubelet.yaml"
render kube-proxy.yaml >"$state/kube-proxy.yaml"
render audit.yaml >"$state/audit.yaml"
# Pods with the node's own DNS settings find no server outside.
echo 'nameserver 127.0.0.1' >"$state/resolv.conf"
render bridge.conflist >"$state/cni/10-bridge.conflist"

start etcd "$bin/etcd" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn
start kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
    --advertise-address "$node_address" --service-cluster-ip-range "$services" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/sa.pub" \
    --service-account-signing-key-file "$pki/sa.key" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$pki/kubelet-client.crt" --kubelet-client-key "$pki/kubelet-client.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --requestheader-client-ca-file "$pki/ca.crt" \
    --requestheader-allowed-names front-proxy --requestheader-extra-headers-prefix X-Remote-Extra- \
    --requestheader-group-headers X-Remote-Group --requestheader-username-headers X-Remote-User \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key" \
    --audit-policy-file "$state/audit.yaml" --audit-log-path "$state/log/audit"
PATH=$tools:$PATH start containerd "$tools/containerd" --config "$state/containerd/config.toml"
until_ 60 'the API server' kube get --raw /readyz
start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$state/kube-controller-manager.conf" \
    --use-service-account-credentials --root-ca-file "$pki/ca.crt" --leader-elect=false \
    --service-account-private-key-file "$pki/sa.key" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key"
start kube-scheduler "$bin/kube-scheduler" --kubeconfig "$state/kube-scheduler.conf" --leader-elect=false
start kube-proxy "$bin/kube-proxy" --config "$state/kube-proxy.yaml"
until_ 30 containerd ctr version
e2e/cluster/images.sh base
start kubelet "$bin/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$state/kubelet.conf" \
    --root-dir "$state/kubelet" --cert-dir "$pki" --hostname-override node --node-ip "$node_address"

# === ready ===

render coredns.yaml | kube apply -f - >/dev/null
until_ 60 'the node' kube wait --for=condition=Ready node/node --timeout=1s
until_ 30 'the default ServiceAccount' kube get serviceaccount default
until_ 60 'CoreDNS' kube -n kube-system rollout status deployment/coredns --timeout=1s
say "Kubernetes $kubernetes_version is ready after $((SECONDS - started)) s: export KUBECONFIG=$kubeconfig"
