#!/usr/bin/env bash
# The story in a minute: a PostgreSQL of its own, the sidecar, psql as the agent, the command line as the approver.
# Everything lies in one temporary folder; every process and file is gone at the end, however it ends.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build demo
say 'building'
cargo build --locked --quiet -p sidecar -p cli
bin=$target/debug

# === users: the database, the sidecar, the agent and the approver are four different people where that is possible
root=; [ "$(id -u)" = 0 ] && have setpriv && root=yes
database_uid=$(id -u postgres 2>/dev/null || echo 64501) sidecar_uid=64502 agent_uid=64503 approver_uid=64504
approvers_gid=64505
# What a command is run with to be that person; nothing where there is one user only.
as_database=() as_sidecar=() as_agent=() as_approver=()
if [ -n "$root" ]; then
    as_database=(setpriv --reuid "$database_uid" --regid "$database_uid" --clear-groups)
    as_sidecar=(setpriv --reuid "$sidecar_uid" --regid "$sidecar_uid" --groups "$approvers_gid")
    as_agent=(setpriv --reuid "$agent_uid" --regid "$agent_uid" --clear-groups)
    as_approver=(setpriv --reuid "$approver_uid" --regid "$approvers_gid" --clear-groups)
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/agentaccess-demo.XXXXXX")
sidecar_pid=
cleanup() {
    local status=$?
    trap - EXIT INT TERM
    if [ -n "$sidecar_pid" ]; then kill "$sidecar_pid" 2>/dev/null || true; wait "$sidecar_pid" 2>/dev/null || true; fi
    if [ -s "$work/db/data/postmaster.pid" ]; then
        "${as_database[@]}" "$pg/pg_ctl" -D "$work/db/data" -m immediate stop >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 711 "$work"
cd "$work"

if [ -t 1 ]; then bold=$'\033[1m' dim=$'\033[2m' off=$'\033[0m'; else bold= dim= off=; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
why() { printf '%s%s%s\n' "$dim" "$*" "$off"; }
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])' 2>/dev/null \
    || echo $((20000 + RANDOM % 20000)); }

# === the target: PostgreSQL with TLS and SCRAM
if [ -n "${AGENTACCESS_POSTGRES:-}" ]; then pg=$AGENTACCESS_POSTGRES/bin
else
    initdb=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1 || true)
    pg=$(dirname "${initdb:-$(command -v initdb)}")
fi
pg_port=$(free_port) port=$(free_port) metrics_port=$(free_port)
say "starting $("$pg/postgres" --version) of its own on port $pg_port (TLS, SCRAM), and the sidecar in front of it on port $port"
mkdir db tls && [ -z "$root" ] || chown "$database_uid:$database_uid" db
openssl req -x509 -newkey rsa:2048 -nodes -keyout tls/ca.key -out tls/ca.crt -days 2 -subj '/CN=agentaccess demo CA' 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout db/server.key -out tls/server.csr -subj '/CN=localhost' 2>/dev/null
openssl x509 -req -in tls/server.csr -CA tls/ca.crt -CAkey tls/ca.key -CAcreateserial -days 2 -out db/server.crt \
    -extfile <(printf 'subjectAltName=DNS:localhost') 2>/dev/null
chmod 600 db/server.key && { [ -z "$root" ] || chown "$database_uid:$database_uid" db/server.key db/server.crt; }
password() { openssl rand -hex 16; }
db_password=$(password) agent_password=$(password)
(umask 077; echo "$db_password" >db/password) && { [ -z "$root" ] || chown "$database_uid" db/password; }
"${as_database[@]}" "$pg/initdb" -D db/data -U owner -A scram-sha-256 --pwfile=db/password -E UTF8 --locale=C >/dev/null
cat >>db/data/postgresql.conf <<CONF
listen_addresses = '127.0.0.1'
port = $pg_port
unix_socket_directories = ''
ssl = on
ssl_cert_file = '$work/db/server.crt'
ssl_key_file = '$work/db/server.key'
fsync = off
CONF
"${as_database[@]}" "$pg/pg_ctl" -D db/data -l db/log -w -t 30 start >/dev/null
owner() { PGPASSWORD=$db_password psql -X -q -v ON_ERROR_STOP=1 "host=127.0.0.1 port=$pg_port user=owner dbname=$1 sslmode=require"; }
echo 'CREATE DATABASE orders' | owner postgres
owner orders <<SQL
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text, ssn text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, status text NOT NULL, total numeric);
INSERT INTO customers VALUES (1, 'Ada', 'ada@example.com', '536-90-4399'), (2, 'Grace', 'grace@example.com', '219-09-9999');
INSERT INTO orders VALUES (4711, 1, 'open', 19.90), (4712, 2, 'shipped', 7.50), (4713, 2, 'open', 99.00);
CREATE ROLE orders_agent LOGIN PASSWORD '$db_password';
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO orders_agent;
SQL

# === the sidecar: a target, a policy, secrets that only it can read
mkdir -p gate/policies gate/state
cat >gate/agentaccess.yaml <<YAML
stateDir: ./state
policies: ./policies
listeners:
  - target: orders-db
    listen: 127.0.0.1:$port
    subject: {namespace: local, serviceAccount: support-agent, labels: {app: support-agent}}
    clientAuth: {scram: {username: agent, passwordSecretRef: {name: agent-login, key: password}}}
approvers:
  - {name: alice, uid: $([ -n "$root" ] && echo $approver_uid || id -u)}
$([ -n "$root" ] && echo "approverGroup: $approvers_gid" || echo 'dangerSharedUser: true')
metrics: {listen: 127.0.0.1:$metrics_port}
YAML
cat >gate/policies/policy.yaml <<'YAML'
apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccessPolicy
metadata: {name: support-agent, namespace: local}
spec:
  podSelector: {matchLabels: {app: support-agent}}
  recording: {level: Payload}
  approvals:
    - {name: change, requiredApprovals: 1, holdFor: 20s, reason: Required}
  targets:
    - targetRef: {name: orders-db}
      postgres:
        rules:
          - {name: reads, action: Allow, verbs: [Select], relations: [public.orders, public.customers]}
          - {name: fixes, action: RequireApproval, approval: change, verbs: [Update, Delete], relations: [public.orders], requireWhere: true}
          - {name: no-ddl, action: Deny, verbs: [DDL], message: Schema changes go through migrations.}
        masks:
          - {name: email, columns: [public.customers.email], method: Partial}
          - {name: ssn, columns: ["*.*.ssn"], method: Redact}
YAML
cat >gate/policies/target.yaml <<YAML
apiVersion: agentaccess.dev/v1alpha1
kind: AccessTarget
metadata: {name: orders-db, namespace: local}
spec:
  protocol: Postgres
  host: localhost
  port: $pg_port
  tls: {mode: VerifyFull, caSecretRef: {name: orders-ca, key: ca.crt}}
  credentialRef: {name: orders-credential}
  postgres: {databases: [orders]}
YAML
(umask 077; cat >gate/policies/secrets.yaml) <<YAML
apiVersion: v1
kind: Secret
metadata: {name: orders-credential, namespace: local}
stringData: {username: orders_agent, password: $db_password}
---
apiVersion: v1
kind: Secret
metadata: {name: agent-login, namespace: local}
stringData: {password: $agent_password}
---
apiVersion: v1
kind: Secret
metadata: {name: orders-ca, namespace: local}
stringData:
  ca.crt: |
$(sed 's/^/    /' tls/ca.crt)
YAML
chmod 711 gate
[ -z "$root" ] || chown -R "$sidecar_uid:$sidecar_uid" gate
"${as_sidecar[@]}" "$bin/agentaccess-sidecar" run --config gate/agentaccess.yaml >gate.log 2>&1 &
sidecar_pid=$!
for _ in $(seq 100); do grep -q '"ready"' gate.log && break; kill -0 "$sidecar_pid" 2>/dev/null || break; sleep 0.1; done
grep -q '"ready"' gate.log || { cat gate.log >&2; fail 'the sidecar did not start'; }
cp gate/state/keys/ca.crt ca.crt && chmod 644 ca.crt

agent() { # the agent's shell: it knows its own login and nothing else
    printf '%sagent$%s psql -c "%s"\n' "$bold" "$off" "$1"
    "${as_agent[@]}" env -i PATH="$PATH" HOME=/nonexistent LANG=C.UTF-8 PGPASSWORD="$agent_password" PGSSLROOTCERT="$work/ca.crt" \
        psql -X "host=localhost port=$port user=agent dbname=orders sslmode=verify-full" -c "$1" 2>&1 || true
}
person() { # an approver's or auditor's shell
    local who=$1; shift
    local person=("${as_sidecar[@]}")
    [ "$who" = alice ] && person=("${as_approver[@]}")
    printf '%s%s$%s agentaccess %s\n' "$bold" "$who" "$off" "$*"
    "${person[@]}" env -i PATH="$PATH" HOME=/nonexistent LANG=C.UTF-8 \
        "$bin/agentaccess" --state-dir "$work/gate/state" "$@" 2>&1
}

step '1. The agent reads. The policy allows it, and masks what it must not see.'
agent 'SELECT id, name, email, ssn FROM customers'
why 'Masked where the rows are read: an alias, a predicate or COPY would show the same. The agent logged in with a password
of its own; the password of the database is with the sidecar alone.'

step '2. The agent tries to drop a table.'
agent 'DROP TABLE orders'
why 'Refused before any byte of it left. The agent reads which rule refused, and why.'

step '3. The agent forgets its WHERE.'
agent 'DELETE FROM orders'
why 'The rule asks for a condition that a row may fail.'

step '4. The agent deletes one order. A person has to agree: the connection waits.'
agent 'DELETE FROM orders WHERE id = 4711' >waiting &
waiting=$!
request=
for _ in $(seq 100); do request=$(sed -n 's/.*request \(areq-[a-z0-9]*\).*/\1/p' waiting | head -n 1); [ -n "$request" ] && break; sleep 0.1; done
[ -n "$request" ] || { cat waiting >&2; fail 'no approval request was made'; }
cat waiting
person alice approvals ls
person alice approve "$request" --reason INC-123
wait "$waiting"
echo "${bold}agent\$${off} … the connection that waited:"
tail -n 1 waiting
grep -q 'DELETE 1' waiting || fail 'the approved statement did not run'
why 'Exactly this statement, once. The same again asks again.'

step '5. The agent has gone. What happened?'
session=$(person auditor sessions ls -o json | sed -n 's/.*"session":"\(s-[0-9a-f]*\)".*/\1/p' | tail -n 1)
person auditor sessions ls
person auditor replay "$session" --no-delay

step '6. Is that the truth?'
key=$(sed -n 's/.*"checkpoint_key":"\([^"]*\)".*/\1/p' gate.log | head -n 1)
kill "$sidecar_pid" && wait "$sidecar_pid" 2>/dev/null || true
sidecar_pid=
cp -r gate/state/recordings forged && [ -z "$root" ] || chown -R "$sidecar_uid" forged
person auditor verify --key "$key"
why 'Now somebody edits one word of a copy.'
sed -i 's/DELETE FROM orders WHERE id = 4711/DELETE FROM orders WHERE id = 4712/' forged/*
if person auditor verify --key "$key" --recordings "$work/forged"; then fail 'an edited recording passed verify'; fi

step 'Done. Nothing of it is left on this machine.'
