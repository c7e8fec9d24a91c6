"""psycopg 3 through the sidecar; one line a step. Environment: PORT, CA (empty: no TLS), BASE."""
import enum
import os
import threading

import psycopg
from psycopg.types.enum import EnumInfo, register_enum

BASE = int(os.environ["BASE"])
CA = os.environ["CA"]
tls = {"sslmode": "verify-full", "sslrootcert": CA} if CA else {"sslmode": "disable"}


def connect(**more):
    return psycopg.connect(
        host="127.0.0.1", port=os.environ["PORT"], user="agent", password="agent-secret", dbname="app",
        autocommit=True, **tls, **more)


def show(rows):
    def one(value):
        if value is None:
            return "NULL"
        if isinstance(value, list):
            return "{" + ",".join(value) + "}"
        return str(value)
    return " ; ".join("|".join(one(value) for value in row) for row in rows)


def step(name, run):
    try:
        print(f"{name}: {run()}", flush=True)
    except psycopg.Error as error:
        print(f"{name}: error {error.sqlstate}", flush=True)


db = connect()
q = lambda text, *args, **how: db.execute(text, args or None, **how).fetchall()
step("tls", lambda: "on" if db.pgconn.ssl_in_use else "off")
# psycopg gives an enum array of an unknown type as its text, so its own array type is made known, as its guide says.
info = EnumInfo.fetch(db, "mood")
register_enum(info, db, enum.Enum("Mood", ["calm", "tense"]))
moods = lambda rows: show([[*row[:2], None if row[2] is None else [m.name for m in row[2]]] for row in rows])
QUERY = "SELECT id, name, feels FROM customers ORDER BY id"
MASKED = "SELECT email, ssn, pin FROM customers ORDER BY id"
step("query", lambda: moods(q(QUERY)))
step("query binary", lambda: moods(q(QUERY, binary=True)))
step("masked", lambda: show(q(MASKED)))
step("masked binary", lambda: show(q(MASKED, binary=True)))


def prepared():
    found = []
    for number in range(1, 13):
        found += q(f"SELECT note AS n{BASE} FROM orders WHERE id = %s", number, binary=number % 2 == 0)
    # psycopg prepares from the sixth on; the server knows the statement by name then.
    return show(found)


step("prepared", prepared)
step("prepared masked", lambda: show([q("SELECT ssn FROM customers WHERE id = %s", 1)[0] for _ in range(8)]))


def pipeline():
    with db.pipeline():
        cursors = [db.execute("SELECT note FROM orders WHERE id = %s", [n]) for n in range(1, 21)]
    return show([cursor.fetchone() for cursor in cursors][-3:])


step("pipeline", pipeline)


def refused_in_pipeline():
    try:
        with db.pipeline(), db.transaction():
            db.execute("INSERT INTO log VALUES (%s, 'x')", [BASE + 1])
            db.execute("DELETE FROM customers WHERE id = 1")
            db.execute("INSERT INTO log VALUES (%s, 'x')", [BASE + 2])
    finally:
        assert db.info.transaction_status.name == "IDLE", db.info.transaction_status
    return "not refused"


step("refused in a pipeline", refused_in_pipeline)


def executemany():
    with db.cursor() as cursor, db.transaction():
        cursor.executemany("INSERT INTO log VALUES (%s, 'x')", [[BASE + 10 + n] for n in range(5)])
    return q("SELECT count(*) FROM log WHERE id >= %s AND id < %s", BASE + 10, BASE + 20)[0][0]


step("executemany", executemany)


def copy_out(text):
    with db.cursor() as cursor, cursor.copy(text) as copy:
        return " ; ".join(b"".join(copy).decode().split("\n"))


def server_side(text):
    # DECLARE by SQL, Describe of a portal of that name, and FETCH by SQL.
    with db.transaction(), db.cursor(name="page") as cursor:
        cursor.execute(text)
        names = [column.name for column in cursor.description]
        return f"{','.join(names)} ; {show(cursor.fetchmany(2))} ; {show(cursor.fetchall())}"


step("server-side cursor", lambda: server_side("SELECT id, ssn FROM customers ORDER BY id"))
step("copy", lambda: copy_out("COPY (SELECT id, note FROM orders WHERE id <= 3 ORDER BY id) TO STDOUT (FORMAT csv)"))
step("copy masked", lambda: copy_out("COPY (SELECT id, ssn, pin FROM customers ORDER BY id) TO STDOUT (FORMAT csv)"))


def cancelled():
    failed = []

    def cancel():
        try:
            db.cancel_safe()
        except psycopg.Error as error:
            failed.append(str(error))

    timer = threading.Timer(0.5, cancel)
    timer.start()
    try:
        return q("SELECT count(*) FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b")
    finally:
        timer.join()
        assert not failed, failed


step("cancel", cancelled)
step("after it", lambda: q("SELECT 1")[0][0])


def begin_and_fail(bad, number):
    db.execute("BEGIN")
    db.execute("INSERT INTO log VALUES (%s, 'x')", [BASE + number])
    db.execute(bad)


step("error in a transaction", lambda: begin_and_fail("SELECT 1/0", 30))
step("aborted", lambda: q("SELECT 1"))
step("rolled back", lambda: db.execute("ROLLBACK").statusmessage)
step("refused", lambda: db.execute("DROP TABLE orders"))
step("refused prepared", lambda: db.execute("DELETE FROM orders WHERE id = %s", [1], prepare=True))
step("after it", lambda: q("SELECT 1")[0][0])
step("refused in a transaction", lambda: begin_and_fail("DELETE FROM customers WHERE id = 1", 31))
step("aborted", lambda: q("SELECT 1"))
step("commit rolls back", lambda: db.execute("COMMIT").statusmessage)
step("masked in a predicate", lambda: show(q("SELECT id FROM customers WHERE ssn = %s", "CANARY-ssn-1")))
step("kept", lambda: show(q("SELECT id - %s FROM log WHERE id >= %s AND id < %s ORDER BY id", BASE, BASE, BASE + 1000)))
db.close()
