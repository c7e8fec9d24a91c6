"""The suites: how each is run against one port, and what it says of each test.

A suite is given `Place` and returns `{test: (outcome, what it said)}`. The same tests run in the same order on both ways.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

from world import PASSWORD, USER

HERE = Path(__file__).parent


@dataclass
class Place:
    suites: Path  # where `setup.sh transparency` put them
    work: Path  # a folder of this run alone
    port: int
    admin: object  # SQL past the sidecar
    server: Path  # programs of PostgreSQL

    def url(self, driver, database, more=""):
        return f"{driver}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}{more}"

    def python(self):
        return str(self.suites / "python/bin/python")

    def run(self, command, seconds, cwd=None, env=None, name="out"):
        """All that it said is kept in `work`. A suite that hangs is ended, and what it told until then counts."""
        with open(self.work / name, "w") as out:
            process = subprocess.Popen(["nice", *map(str, command)], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       cwd=cwd or self.work, env={**os.environ, **self.environment(), **(env or {})},
                                       start_new_session=True)
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                out.write(f"\nended after {seconds} s\n")
                return None
            finally:
                try:
                    os.killpg(process.pid, 9)
                except ProcessLookupError:
                    pass

    def environment(self):
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": USER, "PGPASSWORD": PASSWORD, "PYTHONPATH": str(HERE),
                "TOLD": str(self.work / "told"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}

    def told(self):
        file = self.work / "told"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return {line["test"]: (line["outcome"], line["said"]) for line in lines}


def pytest(place, folder, *arguments, database, seconds=1500, each=60):
    place.run([place.python(), "-m", "pytest", "-p", "told", "-p", "no:cacheprovider", "-q", "--tb=native", "-W", "ignore",
               f"--timeout={each}", *arguments], seconds, cwd=folder, env={"PGDATABASE": database})
    return place.told()


def copy(place, name):
    folder = place.work / name
    shutil.copytree(place.suites / name, folder, symlinks=True)
    return folder


def asyncpg(place):
    # Its tests, with the driver from its wheel.
    folder = place.work / "asyncpg"
    shutil.copytree(place.suites / "asyncpg/tests", folder / "tests")
    return pytest(place, folder, "tests", database="asyncpg")


def sqlalchemy(driver, *tests):
    def run(place):
        folder = copy(place, "sqlalchemy")
        for schema in ("test_schema", "test_schema_2"):
            place.admin(f"CREATE SCHEMA IF NOT EXISTS {schema}", "sqlalchemy")
        # Its extensions are there already: CREATE EXTENSION is nobody's.
        provision = folder / "lib/sqlalchemy/dialects/postgresql/provision.py"
        text = provision.read_text()
        # Before it drops its tables it looks into the activity of all sessions, which nobody may read, for some that it forgot.
        looks = '"""Ensure there are no locks on the current username/database."""'
        assert "in _extensions:" in text and looks in text
        text = text.replace(looks, "return")
        provision.write_text(text.replace("in _extensions:", "in ():"))
        return pytest(place, folder, *tests, "--dburi", place.url(f"postgresql+{driver}", "sqlalchemy"),
                      "--backend-only", "-p", "no:xdist", database="sqlalchemy")
    return run


def pg8000(place):
    return pytest(place, copy(place, "pg8000"), "test", database="pg8000")


DJANGO = """
    aggregation annotations backends basic bulk_create constraints custom_columns datatypes db_functions delete dates
    expressions expressions_case expressions_window from_db_value get_or_create indexes introspection json_field lookup
    m2m_regress many_to_many many_to_one model_fields null_queries one_to_one ordering postgres_tests queries queryset_pickle
    raw_query schema select_for_update transactions transaction_hooks update
"""


def django(place):
    folder = copy(place, "django")
    apps = [name for name in DJANGO.split() if (folder / "tests" / name).is_dir()]
    # Its databases are there already: CREATE DATABASE is nobody's.
    place.run([place.python(), "runtests.py", "--settings=django_settings", "--parallel=1", "--noinput", "--keepdb", "-v0", *apps], 2400,
              cwd=folder / "tests")
    return place.told()


def pgx(place):
    folder = copy(place, "pgx")
    place.run([place.server / "psql", "-X", "-q", "-d", place.admin.dsn("pgx"), "-f", folder / "testsetup/postgresql_setup.sql"], 60,
              name="set-up")
    database = f"host=127.0.0.1 port={place.port} user={USER} password={PASSWORD} dbname=pgx sslmode=disable"
    env = {"PGX_TEST_DATABASE": database, "PGX_TEST_TCP_CONN_STRING": database}
    # Some tests index what they have not got and end the whole program: each is run by a program of its own.
    place.run(["go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}", "./..."], 600, cwd=folder,
              name="packages")
    said, ended = {}, {}
    for package, inside in (line.split() for line in (place.work / "packages").read_text().splitlines() if line.startswith("github.com/")):
        short, program = package.removeprefix("github.com/jackc/"), place.work / "program"
        if place.run(["go", "test", "-c", "-o", program, "."], 900, cwd=inside, name="build") != 0:
            raise RuntimeError((place.work / "build").read_text())
        place.run([program, "-test.list", "^Test"], 60, cwd=inside, name="list", env=env)
        for test in re.findall(r"^Test\S*$", (place.work / "list").read_text(), re.M):
            place.run(["go", "tool", "test2json", "-t", program, "-test.v", "-test.run", f"^{test}$", "-test.timeout", "60s"], 90, cwd=inside,
                      name="one", env=env)
            go_events(short, (place.work / "one").read_text(errors="replace"), said, ended)
        program.unlink()
    return {test: (outcome, said.get(test, "")) for test, outcome in ended.items()}


def go_events(package, text, said, ended):
    outcomes = {"run": "lost", "pass": "passed", "fail": "failed", "skip": "skipped"}
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if "Test" not in event:
            continue
        # Some names hold the folder of the run.
        test = f"{package}:{re.sub(r'/tmp/Test[^/]*/', '', event['Test'])}"
        if event["Action"] == "output":
            said[test] = (said.get(test, "") + event["Output"])[-20000:]
        elif event["Action"] in outcomes:
            ended[test] = outcomes[event["Action"]]


def tokio_postgres(place):
    folder = copy(place, "tokio-postgres")
    roles = {"pass_user": "password", "md5_user": "password", "scram_user": "password"}
    for role, secret in roles.items():
        place.admin(f"DROP ROLE IF EXISTS {role}", "postgres")
        place.admin(f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'", "postgres")
    # The address stands in its sources.
    for file in folder.rglob("*.rs"):
        text = file.read_text()
        text = text.replace("127.0.0.1:5433", f"127.0.0.1:{place.port}").replace("port=5433", f"port={place.port}")
        text = text.replace("user=postgres", f"user={USER} password={PASSWORD} dbname=tokio")
        file.write_text(text)
    place.run(["cargo", "test", "--test", "test", "--features", "with-serde_json-1,with-uuid-1,with-chrono-0_4", "--", "--test-threads=1"], 1800,
              cwd=folder, env={"CARGO_TARGET_DIR": str(place.suites / "build/tokio-postgres"), "CARGO_INCREMENTAL": "0"})
    text = (place.work / "out").read_text(errors="replace")
    said = dict(re.findall(r"^---- (\S+) stdout ----\n(.*?)(?=^---- |^failures:|\Z)", text, re.S | re.M))
    found = re.findall(r"^test (\S+) \.\.\. .*?(ok|FAILED|ignored)$", text, re.M | re.S)
    outcomes = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
    return {test: (outcomes[ended], said.get(test, "")) for test, ended in found}


def node_postgres(place):
    """Each file is a program of its own, which ends with 0 or does not."""
    folder = copy(place, "node-postgres")
    env = {"PGDATABASE": "node", "PGTESTNOSSL": "true", "NODE_PATH": str(place.suites / "node-modules/node_modules"), "TZ": "UTC",
           "TEST_TIMEOUT": "60000"}
    # Its patience of 5 s is for a machine that does nothing else.
    suite = folder / "test/suite.js"
    suite.write_text(suite.read_text().replace("this.timeout = 5000", "this.timeout = 60000"))
    # Its two tables.
    set_up = Place(**{**place.__dict__, "port": place.admin.port})
    set_up.run(["node", "script/create-test-tables.js"], 60, cwd=folder, name="set-up", env=env)
    results = {}
    for file in sorted((folder / "test/integration").rglob("*-tests.js")):
        status = place.run(["node", file], 120, cwd=folder, name="one", env=env)
        outcome = {0: "passed", None: "hung"}.get(status, "failed")
        results[str(file.relative_to(folder))] = (outcome, (place.work / "one").read_text(errors="replace")[-20000:])
    return results


def pgjdbc(place):
    folder = copy(place, "pgjdbc")
    # The address stands in this file.
    names = {"test.url.PGHOST": "localhost", "test.url.PGPORT": place.port, "test.url.PGDBNAME": "jdbc", "user": USER,
             "password": PASSWORD, "privilegedUser": USER, "privilegedPassword": PASSWORD}
    said = {**dict(line.split("=", 1) for line in (folder / "build.properties").read_text().splitlines() if "=" in line), **names}
    (folder / "build.properties").write_text("".join(f"{name}={value}\n" for name, value in said.items()))
    place.run(["mvn", "-q", "-B", "test", "-Dmaven.test.failure.ignore=true"], 2400, cwd=folder)
    results = {}
    for file in sorted(folder.glob("target/surefire-reports/*.xml")):
        for case in xml.parse(file).getroot().iter("testcase"):
            bad = [one for kind in ("failure", "error") for one in case.findall(kind)]
            said = "\n".join(f"{one.get('message')}\n{one.text}" for one in bad)[-20000:]
            outcome = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
            results[f"{case.get('classname')}.{case.get('name')}"] = (outcome, said)
    return results


def pgbench(place):
    """Each built-in script in each mode; the tables are made past the sidecar, once."""
    results = {}
    program = place.server / "pgbench"
    place.admin.run([program, "-i", "-q", "-s", "1"], "bench")
    for script in ("tpcb-like", "simple-update", "select-only"):
        for mode in ("simple", "extended", "prepared"):
            for clients in (1, 8):
                status = place.run([program, "-n", "-b", script, "-M", mode, "-c", clients, "-t", "200", "bench"], 120, name="one")
                said = (place.work / "one").read_text()
                processed = re.search(r"actually processed: (\d+)/(\d+)", said)
                good = status == 0 and processed and processed[1] == processed[2] and "failed transactions: 0 " in said
                results[f"{script} {mode} {clients}"] = ("passed" if good else "failed", said)
    # Its own set-up is DROP, CREATE, TRUNCATE, COPY FROM STDIN and VACUUM.
    status = place.run([program, "-i", "-q", "-s", "1", "bench"], 120, name="one")
    results["initialise"] = ("passed" if status == 0 else "failed", (place.work / "one").read_text())
    return results


def pg_dump(place):
    """Passes where it ends by itself, with an error that says why."""
    results = {}
    place.admin("CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1)", "bench")
    for name, more in {"whole": [], "schema": ["--schema-only"], "data": ["--data-only"], "table": ["-t", "kept"]}.items():
        status = place.run([place.server / "pg_dump", *more, "bench"], 60, name="one")
        results[name] = ("passed" if status == 0 else "hung" if status is None else "failed", (place.work / "one").read_text()[-2000:])
    return results


# What SQLAlchemy has for PostgreSQL alone, of types there are thousands, and the suite that dialects are accepted by.
POSTGRESQL = "test/dialect/postgresql/"
DIALECT = [*(f"{POSTGRESQL}test_{name}.py" for name in ("query", "dialect", "on_conflict")), "test/engine/test_transaction.py",
           "test/sql/test_query.py", "test/sql/test_returning.py"]
ACCEPTED = ["test/dialect/test_suite.py", f"{POSTGRESQL}test_reflection.py"]

SUITES = {
    "asyncpg": (asyncpg, "asyncpg"),
    "pgx": (pgx, "pgx"),
    "sqlalchemy-psycopg": (sqlalchemy("psycopg", *DIALECT), "sqlalchemy"),
    "sqlalchemy-psycopg-accepted": (sqlalchemy("psycopg", *ACCEPTED), "sqlalchemy"),
    "sqlalchemy-psycopg-types": (sqlalchemy("psycopg", f"{POSTGRESQL}test_types.py"), "sqlalchemy"),
    "sqlalchemy-asyncpg": (sqlalchemy("asyncpg", *DIALECT), "sqlalchemy"),
    "django-psycopg": (django, "django"),
    "tokio-postgres": (tokio_postgres, "tokio"),
    "node-postgres": (node_postgres, "node"),
    "pgjdbc": (pgjdbc, "jdbc"),
    "pg8000": (pg8000, "pg8000"),
    "pgbench": (pgbench, "bench"),
    "pg_dump": (pg_dump, "bench"),
}
