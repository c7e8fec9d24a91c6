//! Unmodified clients through the sidecar, with TLS and without: psql, psycopg 3, asyncpg, node-postgres, pgjdbc.
//!
//! Each program in `drivers/` prints one line a step. The policy lets them read, mask and add to one table; the
//! oracle of what ran is the server's log, and what was kept is asked past the sidecar.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use e2e::drivers;
use e2e::postgres::Server;
use e2e::proxy::{AGENT, AGENT_PASSWORD};
use e2e::wait::eventually;
use e2e::world::{self, Policy, World};

const RULES: &str = "
          - {name: reads, action: Allow, verbs: [Select],
             relations: [public.orders, public.customers, public.log]}
          - {name: adds, action: Allow, verbs: [Insert], relations: [public.log]}
";

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let server = world::server().unwrap();
        let policy = Policy { rules: RULES.to_owned(), ..Policy::default() };
        let sidecar = world::sidecar(&server, &policy).unwrap();
        World { sidecar, server }
    })
}

/// A server that holds what the masks leave and whose agent may do by grants what the policy says: without any
/// sidecar, each program has to print the same there.
fn twin() -> &'static Server {
    static TWIN: OnceLock<Server> = OnceLock::new();
    TWIN.get_or_init(|| {
        let server = world::server().unwrap();
        let masked = "UPDATE customers SET email = left(email, 1) || '***@example.com', ssn = '[redacted]', pin = 0";
        server.admin(masked).unwrap();
        let grants = ["SELECT ON orders, customers, log", "INSERT ON log"];
        server.role(AGENT, AGENT_PASSWORD, &grants).unwrap();
        server
    })
}

/// What a program printed against this port; `base` is where its rows of `log` begin.
fn play(mut command: Command, port: u16, ca: &str, base: u32) -> Vec<String> {
    let output = command.env("PORT", port.to_string()).env("CA", ca).env("BASE", base.to_string()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{}", world().sidecar.log());
    out.lines().map(|line| line.trim().to_owned()).collect()
}

/// What stands in `log` from `base` on, as the programs print it.
fn kept(server: &Server, base: u32) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg((id - {base})::text, ' ; ' ORDER BY id), '') FROM log \
         WHERE id >= {base} AND id < {base} + 1000"
    );
    server.admin(&sql).unwrap()
}

/// What every program prints: the words in braces stand for these in what is expected of it.
const COMMON: [(&str, &str); 6] = [
    ("{rows}", "1|Ann|{calm,tense} ; 2|Bob|NULL ; 3|Cid|{}"),
    ("{masked}", "a***@example.com|[redacted]|0 ; NULL|[redacted]|0 ; c***@example.com|[redacted]|0"),
    (
        "{notes}",
        "note 1 ; note 2 ; note 3 ; note 4 ; note 5 ; note 6 ; note 7 ; note 8 ; note 9 ; note 10 ; note 11 ; note 12",
    ),
    (
        "{eight}",
        "[redacted] ; [redacted] ; [redacted] ; [redacted] ; [redacted] ; [redacted] ; [redacted] ; [redacted]",
    ),
    (
        "{copies}",
        "copy: 1,note 1 ; 2,note 2 ; 3,note 3 ;
         copy masked: 1,[redacted],0 ; 2,[redacted],0 ; 3,[redacted],0 ;",
    ),
    (
        "{transactions}",
        "after it: 1
         error in a transaction: error 22012
         aborted: error 25P02
         rolled back: ROLLBACK
         refused: error 42501
         refused prepared: error 42501
         after it: 1
         refused in a transaction: error 42501
         aborted: error 25P02",
    ),
];

/// A program of a language and its steps.
fn steps(language: anyhow::Result<Command>, file: &str) -> Command {
    let mut command = language.unwrap();
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("drivers").join(file));
    command
}

/// Runs a program through the sidecar, with TLS off and on, and past it, and compares each line with `expected`.
fn plays(base: u32, command: impl Fn() -> Command, expected: &str) {
    let (world, twin) = (world(), twin());
    let expected = COMMON.iter().fold(expected.to_owned(), |text, (word, says)| text.replace(word, says));
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    let rows = expected.last().and_then(|line| line.strip_prefix("kept:")).unwrap().trim();
    let with = |tls: &str| expected.iter().map(|line| line.replace("{tls}", tls)).collect::<Vec<_>>();

    let native = play(command(), twin.port(), "", base);
    // The twin lets anybody compare with what is masked; no row has that value there.
    let differs = |line: &String| line.replace("masked in a predicate: error 42501", "masked in a predicate:");
    assert_eq!(native, with("off").iter().map(differs).collect::<Vec<_>>(), "past the sidecar");
    assert_eq!(kept(twin, base), rows, "past the sidecar");

    let ca = world.sidecar.ca_file().display().to_string();
    for (base, tls, ca) in [(base, "off", ""), (base + 1000, "on", ca.as_str())] {
        let got = play(command(), world.sidecar.port(), ca, base);
        assert_eq!(got, with(tls), "TLS {tls}\n{}", world.sidecar.log());
        assert_eq!(kept(&world.server, base), rows, "TLS {tls}");
        // Executed often enough that the driver names the statement at the server.
        let mut named = world.server.executions();
        named.retain(|one| {
            one.text.contains(&format!("AS n{base} "))
                && one.prepared.as_deref().is_some_and(|name| !name.starts_with("<unnamed>"))
        });
        assert!(named.len() >= 5, "TLS {tls}: {} executions by name", named.len());
    }
    for never in ["DROP TABLE", "DELETE FROM"] {
        assert_eq!(world.server.executed_with(never), 0, "{never}");
    }
}

const PSYCOPG: &str = "
    tls: {tls}
    query: {rows}
    query binary: {rows}
    masked: {masked}
    masked binary: {masked}
    prepared: {notes}
    prepared masked: {eight}
    pipeline: note 18 ; note 19 ; note 20
    refused in a pipeline: error 42501
    executemany: 5
    server-side cursor: id,ssn ; 1|[redacted] ; 2|[redacted] ; 3|[redacted]
    {copies}
    cancel: error 57014
    {transactions}
    commit rolls back: ROLLBACK
    masked in a predicate: error 42501
    kept: 10 ; 11 ; 12 ; 13 ; 14
";

#[test]
fn psycopg() {
    plays(10_000, || steps(drivers::python(), "psycopg_steps.py"), PSYCOPG);
}

const ASYNCPG: &str = "
    tls: {tls}
    query: {rows}
    masked binary: {masked}
    prepared: {notes}
    prepared masked: {eight}
    portal by portal: [redacted] ; [redacted] ; [redacted]
    executemany: 5
    executemany refused: error 42501
    {copies}
    cancel: timeout
    {transactions}
    commit rolls back: ROLLBACK
    masked in a predicate: error 42501
    pool: 1|note 1 ; 2|note 2 ; 3|note 3
    kept: 10 ; 11 ; 12 ; 13 ; 14
";

#[test]
fn asyncpg() {
    plays(20_000, || steps(drivers::python(), "asyncpg_steps.py"), ASYNCPG);
}

const NODE_POSTGRES: &str = "
    tls: {tls}
    query: {rows}
    masked: {masked}
    masked extended: {masked}
    masked binary: a***@example.com|[redacted] ; NULL|[redacted] ; c***@example.com|[redacted]
    prepared: {notes}
    prepared masked: {eight}
    queued: note 18 ; note 19 ; note 20
    limited: [redacted] ; [redacted] ; [redacted]
    copy: COPY 3
    cancel: error 57014
    {transactions}
    commit rolls back: ROLLBACK
    masked in a predicate: error 42501
    kept:
";

#[test]
fn node_postgres() {
    plays(30_000, || steps(drivers::node(), "node_steps.js"), NODE_POSTGRES);
}

const PGJDBC: &str = "
    query: {rows}
    masked: {masked}
    prepared masked: 1 true {masked}
    prepared: {notes}
    fetched in parts: [redacted] ; [redacted] ; [redacted]
    batch: [1, 1, 1, 1, 1]
    batch refused: batch error 42501
    refused inside a batch: batch error 42501
    {copies}
    cancel: error 57014
    {transactions}
    commit rolls back: COMMIT
    after it: 1
    masked in a predicate: error 42501
    tables: id,name,email,ssn,pin,feels
    kept: 10 ; 11 ; 12 ; 13 ; 14
";

#[test]
fn pgjdbc() {
    plays(40_000, || steps(drivers::java(), "JdbcSteps.java"), PGJDBC);
}

const PSQL: &str = "
SELECT id, name, feels FROM customers ORDER BY id;
SELECT email, ssn, pin FROM customers ORDER BY id;
COPY (SELECT id, ssn FROM customers ORDER BY id) TO STDOUT (FORMAT csv);
\\copy (SELECT id, note FROM orders WHERE id <= 2 ORDER BY id) TO STDOUT
\\set FETCH_COUNT 1
SELECT ssn FROM customers ORDER BY id;
\\unset FETCH_COUNT
DROP TABLE orders;
SELECT 'alive';
BEGIN;
INSERT INTO log VALUES (:base + 1, 'x');
DELETE FROM customers WHERE id = 1;
SELECT 'aborted';
COMMIT;
BEGIN;
INSERT INTO log VALUES (:base + 2, 'x');
SELECT 1/0;
ROLLBACK;
INSERT INTO log VALUES (:base + 3, 'x');
SELECT id - :base FROM log WHERE id >= :base AND id < :base + 1000;
\\d log
";

const PSQL_SAYS: &str = "
1|Ann|{calm,tense}
2|Bob|
3|Cid|{}
a***@example.com|[redacted]|0
|[redacted]|0
c***@example.com|[redacted]|0
1,[redacted]
2,[redacted]
3,[redacted]
1\tnote 1
2\tnote 2
[redacted]
[redacted]
[redacted]
alive
3
id|integer||not null|
what|text|||
";

const PSQL_ERRORS: [&str; 4] = ["42501", "42501", "25P02", "22012"];

#[test]
fn psql() {
    let world = world();
    for (tls, base) in [(false, 50_000), (true, 51_000)] {
        let psql = world.sidecar.psql().login(AGENT, AGENT_PASSWORD);
        let psql = if tls { psql.trusting(&world.sidecar.ca_file()) } else { psql };
        let script = format!("\\set VERBOSITY verbose\n\\set base {base}\n{PSQL}");
        let out = psql.run_on(&script).unwrap();
        let said: Vec<&str> = out.stdout.lines().filter(|line| !line.is_empty()).collect();
        let expected: Vec<&str> = PSQL_SAYS.trim().lines().collect();
        assert_eq!(said.get(..expected.len()).unwrap_or(&said), expected, "TLS {tls}\n{}", out.stderr);
        let errors: Vec<&str> = out.stderr.lines().filter_map(|line| line.split("ERROR:  ").nth(1)?.get(..5)).collect();
        assert_eq!(errors, PSQL_ERRORS, "TLS {tls}\n{}", out.stderr);
        assert_eq!(kept(&world.server, base), "3");

        // What its own questions to the catalog find is what they find past the sidecar.
        let mut answered = 0;
        for backslash in
            ["\\d", "\\d customers", "\\d orders", "\\dt+", "\\dv", "\\df", "\\l", "\\du", "\\dn", "\\dT", "\\dp"]
        {
            let ours = psql.run(&format!("{backslash}\n")).unwrap();
            let native = world.server.psql(world::ROLE, world::ROLE_PASSWORD).run(&format!("{backslash}\n")).unwrap();
            // An older psql asks a newer server for columns that it has not (`\l` from 17 on), proxy or none.
            assert_eq!(ours.status, native.status, "{backslash}: {}", ours.stderr);
            assert_eq!(ours.stdout, native.stdout, "{backslash}: {}", ours.stderr);
            let error = |said: &str| said.lines().next().unwrap_or_default().to_owned();
            assert_eq!(error(&ours.stderr), error(&native.stderr), "{backslash}");
            answered += usize::from(native.status == Some(0));
        }
        assert!(answered >= 10, "{answered}");

        // Other drivers cancel at the same time: a name of its own.
        let text = "SELECT count(*) FROM generate_series(1, 100000) of_psql CROSS JOIN generate_series(1, 100000) b;";
        let before = world.server.executed_with("of_psql");
        let mut long = psql.spawn(text).unwrap();
        let runs = || world.server.executed_with("of_psql") > before;
        eventually("the query to run", Duration::from_secs(10), runs).unwrap();
        long.cancel();
        let end = long.wait(Duration::from_secs(10)).unwrap();
        assert!(end.stderr.contains("canceling statement"), "{}", end.stderr);
    }
}
