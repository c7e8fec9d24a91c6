"""A PostgreSQL of its own and a sidecar before it under the widest policy that can be written.

What can be allowed is allowed. What a rule can at most ask a person for (DDL, CALL and functions of users, DO, COPY FROM
STDIN) is asked for, in transactions too, and `approver.py` says yes at once. Mode Audit would not do: there is nobody to
ask, so these stay refused. Limits are at their greatest. The role is a superuser, the same on both ways.
"""
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
USER, PASSWORD = "suite", "suite-secret"
DATABASES = [
    "suite", "asyncpg", "pgx", "tokio", "django", "django_other", "node", "jdbc", "sqlalchemy", "bench", "pg8000", "postgres",
]
EXTENSIONS = ["hstore", "citext", "ltree", "uuid-ossp", "pg_trgm", "btree_gist", "btree_gin", "unaccent", "intarray", "bloom",
              "cube", "pgcrypto"]
SIDECAR, APPROVER = 64502, 64504

POLICY = """
apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccessPolicy
metadata: {name: widest, namespace: local}
spec:
  podSelector: {}
  recording: {level: Metadata}
  approvals:
    - {name: at-once, pendingTTL: 60s, holdFor: 20s, inTransaction: {maxHold: 30s, onTimeout: Rollback}}
  targets:
    - targetRef: {name: db}
      postgres:
        rules:
          - {name: rows, action: Allow, verbs: [Select, Insert, Update, Delete]}
          - {name: channels, action: Allow, verbs: [Listen, Notify]}
          - {name: asked, action: RequireApproval, approval: at-once, verbs: [CopyFrom, Call, DDL]}
          - {name: code, action: RequireApproval, approval: at-once, verbs: [Do]}
---
apiVersion: agentaccess.dev/v1alpha1
kind: AccessTarget
metadata: {name: db, namespace: local}
spec:
  protocol: Postgres
  host: localhost
  port: %(server)s
  tls: {mode: VerifyFull, caSecretRef: {name: db-ca, key: ca.crt}}
  credentialRef: {name: db-credential}
  postgres: {databases: [%(databases)s], searchPath: [public]}
"""
CONFIG = """
stateDir: ./state
policies: ./policies
listeners:
  - target: db
    listen: 127.0.0.1:%(port)s
    subject: {namespace: local, serviceAccount: suite, labels: {app: suite}}
    clientAuth: {scram: {username: %(user)s, passwordSecretRef: {name: suite-login, key: password}}}
approvers:
  - {name: robot, uid: %(approver)s}
approverGroup: %(approver)s
limits:
  pendingApprovals: 500
  statementsPerBatch: 10000
  preparedStatements: 100000
  portals: 100000
  frontendMessage: 256MiB
  sqlText: 4MiB
"""
SECRETS = """
apiVersion: v1
kind: Secret
metadata: {name: db-credential, namespace: local}
stringData: {username: %(user)s, password: %(password)s}
---
apiVersion: v1
kind: Secret
metadata: {name: suite-login, namespace: local}
stringData: {password: %(password)s}
---
apiVersion: v1
kind: Secret
metadata: {name: db-ca, namespace: local}
stringData:
  ca.crt: |
%(ca)s
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def as_user(uid, *groups):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"]


class World:
    def __init__(self, folder, programs):
        self.folder, self.programs = Path(folder), Path(programs)
        self.pg = server_programs()
        self.server_port, self.port = free_port(), free_port()
        self.processes = []
        self.sidecar = self.approver = None

    def start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for parent in [self.folder, *self.folder.parents]:
            if not parent.stat().st_mode & 0o001:
                sys.exit(f"error: {parent} is closed to other users: set TMPDIR to a folder that is not")
        self.start_server()
        # Each database is made of template1.
        self.admin("\n".join(f'CREATE EXTENSION "{one}";' for one in EXTENSIONS))
        for name in DATABASES:
            self.fresh(name)
        self.start_sidecar()

    def start_server(self):
        data, tls = self.folder / "db", self.folder / "tls"
        data.mkdir(), tls.mkdir()
        run = lambda *command, **more: subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **more)
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls/ca.key", "-out", "tls/ca.crt", "-days", "2",
            "-subj", "/CN=transparency CA")
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "db/server.key", "-out", "tls/server.csr",
            "-subj", "/CN=localhost")
        (tls / "names").write_text("subjectAltName=DNS:localhost")
        run("openssl", "x509", "-req", "-in", "tls/server.csr", "-CA", "tls/ca.crt", "-CAkey", "tls/ca.key", "-CAcreateserial",
            "-days", "2", "-out", "db/server.crt", "-extfile", "tls/names")
        (data / "password").write_text(PASSWORD)
        os.chmod(data / "server.key", 0o600)
        for path in [data, *data.iterdir()]:
            shutil.chown(path, "postgres", "postgres")
        self.postgres = as_user(shutil_uid("postgres"))
        run(*self.postgres, f"{self.pg}/initdb", "-D", "db/data", "-U", USER, "-A", "scram-sha-256", "--pwfile=db/password", "-E",
            "UTF8", "--locale=C.UTF-8")
        with open(data / "data/postgresql.conf", "a") as conf:
            conf.write(f"""
listen_addresses = '127.0.0.1'
port = {self.server_port}
unix_socket_directories = ''
ssl = on
ssl_cert_file = '{data}/server.crt'
ssl_key_file = '{data}/server.key'
fsync = off
max_connections = 300
max_prepared_transactions = 20
""")
        run(*self.postgres, f"{self.pg}/pg_ctl", "-D", "db/data", "-l", "db/log", "-w", "-t", "60", "start")

    def start_sidecar(self):
        gate = self.folder / "gate"
        (gate / "policies").mkdir(parents=True), (gate / "state").mkdir()
        said = {"server": self.server_port, "databases": ", ".join(DATABASES), "port": self.port, "user": USER, "password": PASSWORD,
                "approver": APPROVER,
                "ca": "\n".join("    " + line for line in (self.folder / "tls/ca.crt").read_text().splitlines())}
        (gate / "agentaccess.yaml").write_text(CONFIG % said)
        (gate / "policies/policy.yaml").write_text(POLICY % said)
        (gate / "policies/secrets.yaml").write_text(SECRETS % said)
        os.chmod(gate / "policies/secrets.yaml", 0o600)
        for path in [gate, *gate.rglob("*")]:
            shutil.chown(path, SIDECAR, SIDECAR)
        log = open(self.folder / "gate.log", "w")
        self.sidecar = subprocess.Popen([*as_user(SIDECAR, APPROVER), str(self.programs / "agentaccess-sidecar"), "run", "--config",
                                         str(gate / "agentaccess.yaml")], stdout=log, stderr=log)
        for _ in range(1200):
            if '"ready"' in (self.folder / "gate.log").read_text():
                break
            if self.sidecar.poll() is not None:
                break
            time.sleep(0.1)
        else:
            sys.exit(f"error: the sidecar did not start; see {self.folder}/gate.log")
        if self.sidecar.poll() is not None:
            sys.exit((self.folder / "gate.log").read_text())
        self.approver = subprocess.Popen([sys.executable, "-u", str(HERE / "approver.py"), str(gate / "state/approve.sock"), str(APPROVER)],
                                         stdout=open(self.folder / "approver.log", "w"), stderr=subprocess.STDOUT)

    def admin(self, sql, database="template1"):
        """Past the sidecar."""
        done = subprocess.run([f"{self.pg}/psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(self.server_port, database)],
                              input=sql, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout

    def fresh(self, database):
        """An empty database with the extensions that suites ask for."""
        self.admin(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        self.admin(f'CREATE DATABASE "{database}"')

    @staticmethod
    def dsn(port, database):
        return f"host=localhost port={port} user={USER} password={PASSWORD} dbname={database}"

    def stop(self):
        for process in (self.approver, self.sidecar):
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
        if (self.folder / "db/data/postmaster.pid").exists():
            subprocess.run([*self.postgres, f"{self.pg}/pg_ctl", "-D", str(self.folder / "db/data"), "-m", "immediate", "stop"],
                           capture_output=True, cwd="/")


def shutil_uid(name):
    import pwd
    return pwd.getpwnam(name).pw_uid


def server_programs():
    own = os.environ.get("AGENTACCESS_POSTGRES")
    if own:
        return Path(own) / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        sys.exit("error: no PostgreSQL; `scripts/setup.sh transparency` installs it")
    return found[-1].parent
