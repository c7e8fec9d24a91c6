#!/usr/bin/env bash
# What `setup` in compose.yaml runs: certificates and passwords, made once, each readable by one user; policies, anew
# each time.
set -euo pipefail
umask 077
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT

password() { openssl rand -hex 24; }
certificate() { openssl "$@" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes; }

if [ ! -e "$FOR_SIDECAR/policies/secrets.yaml" ]; then
    certificate req -x509 -days 3650 -subj '/CN=orders example CA' -keyout ca.key -out ca.crt
    certificate req -subj "/CN=$DATABASE_HOST" -keyout "$FOR_DATABASE/server.key" -out server.csr
    openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -out "$FOR_DATABASE/server.crt" \
        -extfile <(printf 'subjectAltName=DNS:%s\nbasicConstraints=CA:FALSE\n' "$DATABASE_HOST")
    # The CA's key goes with this folder: nothing else is ever signed with it.
    password >"$FOR_DATABASE/superuser.password"
    password >"$FOR_DATABASE/role.password"
    agent=$(password)
    echo "*:*:*:*:$agent" >"$FOR_AGENT/pgpass"

    mkdir -p "$FOR_SIDECAR/policies"
    cat >"$FOR_SIDECAR/policies/.secrets.new" <<YAML
apiVersion: v1
kind: Secret
metadata: {name: orders-credential, namespace: local}
stringData: {username: orders_agent, password: "$(cat "$FOR_DATABASE/role.password")"}
---
apiVersion: v1
kind: Secret
metadata: {name: agent-login, namespace: local}
stringData: {password: "$agent"}
---
apiVersion: v1
kind: Secret
metadata: {name: orders-ca, namespace: local}
stringData:
  ca.crt: |
$(sed 's/^/    /' ca.crt)
YAML
    # Last, and in one step: a run that was cut short is made whole by the next one.
    mv "$FOR_SIDECAR/policies/.secrets.new" "$FOR_SIDECAR/policies/secrets.yaml"
fi

# Each file changes in one step, since a sidecar may read them at this moment. The Secrets of the folder are for a
# sidecar without Compose; those here are ours.
give() { # FILE FOLDER
    cp "$1" "$2/.new" && chown "$SIDECAR_OWNER" "$2/.new" && mv "$2/.new" "$2/${1##*/}"
}
give "$FROM/agentaccess.yaml" "$FOR_SIDECAR"
for file in "$FROM"/policies/*.yaml; do
    [ "${file##*/}" = secrets.yaml ] || give "$file" "$FOR_SIDECAR/policies"
done
for file in "$FOR_SIDECAR"/policies/*.yaml; do
    [ "${file##*/}" = secrets.yaml ] || [ -e "$FROM/policies/${file##*/}" ] || rm "$file"
done

chown -R "$DATABASE_OWNER" "$FOR_DATABASE/"
chown -R "$SIDECAR_OWNER" "$FOR_SIDECAR/"
chown -R "$AGENT_OWNER" "$FOR_AGENT/"
