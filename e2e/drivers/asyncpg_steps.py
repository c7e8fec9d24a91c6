"""asyncpg through the sidecar; one line a step. Environment: PORT, CA (empty: no TLS), BASE. All its results are binary."""
import asyncio
import io
import os
import ssl

import asyncpg

BASE = int(os.environ["BASE"])
CA = os.environ["CA"]


def show(rows):
    def one(value):
        if value is None:
            return "NULL"
        if isinstance(value, list):
            return "{" + ",".join(value) + "}"
        return str(value)
    return " ; ".join("|".join(one(value) for value in row) for row in rows)


async def step(name, work):
    try:
        print(f"{name}: {await work}", flush=True)
    except asyncpg.PostgresError as error:
        print(f"{name}: error {error.sqlstate}", flush=True)
    except asyncio.TimeoutError:
        print(f"{name}: timeout", flush=True)


class Kept(asyncpg.Connection):
    """What pools send when a connection is given back is four statements in one message, one of them RESET ALL."""
    def get_reset_query(self):
        return ""


async def main():
    context = ssl.create_default_context(cafile=CA) if CA else False
    where = {"host": "127.0.0.1", "port": int(os.environ["PORT"]), "user": "agent", "password": "agent-secret",
             "database": "app", "ssl": context}
    db = await asyncpg.connect(**where)

    async def q(text, *args):
        return show(await db.fetch(text, *args))

    async def tls():
        return "on" if db._transport.get_extra_info("ssl_object") else "off"

    await step("tls", tls())
    await step("query", q("SELECT id, name, feels FROM customers ORDER BY id"))
    await step("masked binary", q("SELECT email, ssn, pin FROM customers ORDER BY id"))

    async def prepared():
        statement = await db.prepare(f"SELECT note AS n{BASE} FROM orders WHERE id = $1")
        return show([(await statement.fetchval(number),) for number in range(1, 13)])

    await step("prepared", prepared())

    async def prepared_masked():
        statement = await db.prepare("SELECT ssn FROM customers WHERE id = $1")
        return show([(await statement.fetchval(1),) for _ in range(8)])

    await step("prepared masked", prepared_masked())

    async def cursor():
        found = []
        async with db.transaction():
            async for row in db.cursor("SELECT ssn FROM customers ORDER BY id", prefetch=1):
                found.append(row)
        return show(found)

    await step("portal by portal", cursor())

    async def executemany():
        await db.executemany("INSERT INTO log VALUES ($1, 'x')", [(BASE + 10 + n,) for n in range(5)])
        return await db.fetchval("SELECT count(*) FROM log WHERE id >= $1 AND id < $2", BASE + 10, BASE + 20)

    await step("executemany", executemany())

    async def refused_many():
        await db.executemany("DELETE FROM orders WHERE id = $1", [(n,) for n in range(1, 5)])

    await step("executemany refused", refused_many())

    async def copy(text):
        out = io.BytesIO()
        await db.copy_from_query(text, output=out, format="csv")
        return " ; ".join(out.getvalue().decode().split("\n"))

    await step("copy", copy("SELECT id, note FROM orders WHERE id <= 3 ORDER BY id"))
    await step("copy masked", copy("SELECT id, ssn, pin FROM customers ORDER BY id"))

    # When its time is over, asyncpg sends a CancelRequest and waits for the answer to it.
    await step("cancel", db.fetch(
        "SELECT count(*) FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b", timeout=0.5))
    await step("after it", q("SELECT 1"))

    async def begin_and_fail(bad, number):
        await db.execute("BEGIN")
        await db.execute("INSERT INTO log VALUES ($1, 'x')", BASE + number)
        await db.fetch(bad)

    await step("error in a transaction", begin_and_fail("SELECT 1/0", 30))
    await step("aborted", q("SELECT 1"))
    await step("rolled back", db.execute("ROLLBACK"))
    await step("refused", db.execute("DROP TABLE orders"))
    await step("refused prepared", db.fetch("DELETE FROM orders WHERE id = $1", 1))
    await step("after it", q("SELECT 1"))
    await step("refused in a transaction", begin_and_fail("DELETE FROM customers WHERE id = 1", 31))
    await step("aborted", q("SELECT 1"))
    await step("commit rolls back", db.execute("COMMIT"))
    await step("masked in a predicate", q("SELECT id FROM customers WHERE ssn = $1", "CANARY-ssn-1"))

    async def pool():
        found = []
        async with asyncpg.create_pool(min_size=1, max_size=1, connection_class=Kept, **where) as given:
            for number in range(1, 4):
                async with given.acquire() as one:
                    found.append(await one.fetchrow("SELECT id, note FROM orders WHERE id = $1", number))
        return show(found)

    await step("pool", pool())
    await step("kept", q("SELECT id - $1::int FROM log WHERE id >= $1 AND id < $2 ORDER BY id", BASE, BASE + 1000))
    await db.close()


asyncio.run(main())
