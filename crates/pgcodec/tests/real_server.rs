//! Random pipelines against a real PostgreSQL, twice: as they are, with a statement that cannot parse where ours are
//! refused; and through the machine, which poisons. The agent has to see the same messages and the same transaction states,
//! the tables have to hold the same rows, and every answer has to find the message that asked for it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test helpers")]

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pgcodec::frontend::{Bind, Execute, Parse};
use pgcodec::login::LoginFrame;
use pgcodec::startup::StartupMessage;
use pgcodec::{Backend, Framer, Frontend, Limits, Machine, ProtocolVersion, Target};
use support::{DENY, DENY_LATE, Session};

const SCRIPTS: u64 = 300;

#[test]
fn answers_are_those_of_the_server_itself() {
    let server = Server::start();
    let mut crashed = 0;
    for seed in 0..SCRIPTS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let script = script(&mut random);
        // Shown when the test fails.
        println!("seed {seed}: {script:?}");
        for database in ["native", "governed"] {
            Link::open(&server, database).query("truncate t, deferred");
        }
        let Some(native) = native(&server, &script) else {
            // PostgreSQL 15 itself dies on a few of these (an Execute of a portal whose savepoint was rolled back, in one
            // pipeline): nothing to compare with.
            crashed += 1;
            server.wait();
            continue;
        };
        let governed = governed(&server, &script, seed);
        assert_eq!(governed, native, "seed {seed}\n{script:#?}");
    }
    assert!(crashed * 50 <= SCRIPTS, "{crashed} scripts could not be compared");
}

/// What the agent sees, shortened to what has to be equal.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    messages: Vec<String>,
    table: Vec<String>,
}

/// `None` when the server died.
fn native(server: &Server, script: &[Frontend]) -> Option<Seen> {
    let mut link = Link::open(server, "native");
    let mut out = BytesMut::new();
    for message in script {
        spoil(message.clone()).encode(&mut out).unwrap();
    }
    let mut messages = Vec::new();
    let mut sent = false;
    link.send(&out);
    loop {
        let message = link.try_receive()?;
        let end = is_end(&message, &mut sent);
        messages.push(message);
        if end {
            break;
        }
    }
    Some(Seen { messages: shorten(&messages), table: table(server, "native") })
}

fn governed(server: &Server, script: &[Frontend], seed: u64) -> Seen {
    let mut link = Link::open(server, "governed");
    let machine = Machine::new(&Limits::default());
    let mut session = Session::new(machine, seed % 2 == 1, seed.is_multiple_of(3));
    for message in script {
        session.agent(message.clone()).unwrap_or_else(|e| panic!("seed {seed}: {e}, {script:#?}"));
    }
    let mut sent = false;
    loop {
        link.send(&session.upstream.split());
        let message = link.receive();
        let end = is_end(&message, &mut sent);
        let reply = session.server(message).unwrap_or_else(|e| panic!("seed {seed}: {e}, {script:#?}"));
        if let Some(failure) = &reply.failure {
            let Backend::ErrorResponse(fields) = &reply.message else { panic!("a failure without an error") };
            assert_eq!(failure.poison, fields.message().contains("\"agentaccess\""), "seed {seed}: {fields:?}");
        }
        if end {
            break;
        }
    }
    assert_eq!((session.waiting(), session.machine.in_flight()), (0, 0), "seed {seed}");
    assert!(session.allowed.iter().all(|sql| !sql.contains(DENY)));
    Seen { messages: shorten(&session.seen), table: table(server, "governed") }
}

/// The same script for a server without a proxy: what we refuse is a syntax error there.
fn spoil(message: Frontend) -> Frontend {
    let spoil = |sql: String| match sql.contains(DENY) || sql.contains(DENY_LATE) {
        true => "this cannot parse".to_owned(),
        false => sql,
    };
    match message {
        Frontend::Query { sql } => Frontend::Query { sql: spoil(sql) },
        // Refusing at Execute differs from an error at Parse by ParseComplete and BindComplete: not compared, see `script`.
        Frontend::Parse(parse) => Frontend::Parse(Parse { sql: spoil(parse.sql), ..parse }),
        other => other,
    }
}

/// The last Query of every script selects this.
const END: &str = "the end of the script";

fn is_end(message: &Backend, seen: &mut bool) -> bool {
    match message {
        Backend::DataRow(row) => *seen |= row.columns().flatten().any(|value| value == END.as_bytes()),
        Backend::ReadyForQuery(_) => return *seen,
        _ => {}
    }
    false
}

fn shorten(messages: &[Backend]) -> Vec<String> {
    messages
        .iter()
        .map(|message| match message {
            Backend::ErrorResponse(fields) => format!("error {}", fields.severity()),
            Backend::NoticeResponse(fields) => format!("notice {}", fields.code()),
            other => format!("{other:?}"),
        })
        .collect()
}

fn table(server: &Server, database: &str) -> Vec<String> {
    let mut link = Link::open(server, database);
    link.query("select * from t order by a")
}

// === scripts ===

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of.get(self.below(of.len())).copied().unwrap()
    }
}

/// Texts for both protocols. The denied ones name the table, so that one that slips through changes it.
const TEXTS: &[&str] = &[
    "insert into t select coalesce(max(a), 0) + 1 from t",
    "insert into t select coalesce(max(a), 0) + 1 from t",
    "select 1 / 0",
    "select a from t order by a",
    "select generate_series(1, 5)",
    "select from generate_series(1, 2)",
    "select not_a_column from t",
    "begin",
    "commit",
    "rollback",
    "savepoint s",
    "rollback to s",
    "",
    "insert into t values (100) /* deny_now */",
    "delete from t /* deny_now */",
    "insert into deferred values (1)",
    "copy (select generate_series(1, 3)) to stdout",
    "set local statement_timeout = 10000",
];

const NAMES: &[&str] = &["", "", "", "s1", "s2"];

fn script(random: &mut Random) -> Vec<Frontend> {
    let mut script = Vec::new();
    // The three states that a poison can meet.
    match random.below(3) {
        0 => {}
        1 => script.push(query("begin")),
        _ => script.extend([query("begin"), query("insert into t values (50)"), query("savepoint s")]),
    }
    for _ in 0..random.below(12) + 1 {
        match random.below(12) {
            0..=2 => script.push(query(random.pick(TEXTS))),
            3 => copy_in(random, &mut script),
            4..=9 => batch(random, &mut script),
            10 => script.push(Frontend::Flush),
            _ => unit(random, &mut script),
        }
    }
    script.push(Frontend::Sync);
    script.push(query("rollback"));
    script.push(query(&format!("select '{END}'")));
    script
}

fn batch(random: &mut Random, script: &mut Vec<Frontend>) {
    for _ in 0..random.below(4) + 1 {
        match random.below(8) {
            0 => script.push(Frontend::Close(target(random))),
            // A text that fails leaves an unnamed portal behind that can only be described. The machine does not hold it
            // and says that it does not exist: the one difference that an agent can see.
            1 => script.push(Frontend::Describe(match target(random) {
                Target::Portal(name) if name.is_empty() => Target::Portal("s1".to_owned()),
                other => other,
            })),
            2 => script.push(Frontend::Execute(Execute { portal: name(random), max_rows: 2 })),
            3 => script.push(bind(random.pick(NAMES), random.pick(NAMES))),
            4 => script.push(Frontend::Flush),
            _ => unit(random, script),
        }
    }
    script.push(Frontend::Sync);
}

/// What a driver sends for one statement.
fn unit(random: &mut Random, script: &mut Vec<Frontend>) {
    let (statement, portal) = (name(random), name(random));
    if random.below(4) > 0 {
        let sql = random.pick(TEXTS).to_owned();
        script.push(Frontend::Parse(Parse { name: statement.clone(), sql, param_types: vec![] }));
    }
    if random.below(3) == 0 {
        script.push(Frontend::Describe(Target::Statement(statement.clone())));
    }
    script.push(bind(&portal, &statement));
    if random.below(3) == 0 {
        script.push(Frontend::Describe(Target::Portal(portal.clone())));
    }
    let max_rows = if random.below(3) == 0 { 2 } else { 0 };
    script.push(Frontend::Execute(Execute { portal: portal.clone(), max_rows }));
    if max_rows > 0 && random.below(2) == 0 {
        script.push(Frontend::Execute(Execute { portal, max_rows: 0 }));
    }
}

/// COPY FROM STDIN as pgx (data without waiting) and libpq (a Sync that the COPY swallows) send it.
fn copy_in(random: &mut Random, script: &mut Vec<Frontend>) {
    let table = random.pick(&["t", "missing", "v", "t /* deny_now */"]);
    let sql = format!("copy {table} from stdin");
    let extended = random.below(2) == 0;
    if extended {
        // Names of its own: whoever opens a COPY by chance does not send what it needs.
        let (statement, portal) = ("copy".to_owned(), if random.below(2) == 0 { "" } else { "copy" }.to_owned());
        script.push(Frontend::Close(Target::Statement(statement.clone())));
        script.push(Frontend::Parse(Parse { name: statement.clone(), sql, param_types: vec![] }));
        script.push(bind(&portal, &statement));
        script.push(Frontend::Execute(Execute { portal, max_rows: 0 }));
        if random.below(2) == 0 && table != "v" {
            script.push(Frontend::Sync);
        }
    } else {
        script.push(query(&sql));
    }
    for _ in 0..random.below(3) {
        let data = if random.below(6) == 0 { "not a number\n".to_owned() } else { format!("{}\n", random.below(9000)) };
        script.push(Frontend::CopyData(Bytes::from(data)));
    }
    script.push(match random.below(4) {
        0 => Frontend::CopyFail { message: "no more".to_owned() },
        _ => Frontend::CopyDone,
    });
    if extended {
        script.push(Frontend::Sync);
    }
}

fn query(sql: &str) -> Frontend {
    Frontend::Query { sql: sql.to_owned() }
}

fn bind(portal: &str, statement: &str) -> Frontend {
    Frontend::Bind(Bind {
        portal: portal.to_owned(),
        statement: statement.to_owned(),
        formats: vec![],
        params: vec![],
        result_formats: vec![],
    })
}

fn name(random: &mut Random) -> String {
    random.pick(NAMES).to_owned()
}

fn target(random: &mut Random) -> Target {
    let name = name(random);
    match random.below(2) {
        0 => Target::Statement(name),
        _ => Target::Portal(name),
    }
}

// === server ===

/// One connection that speaks through this crate's codec.
struct Link {
    stream: UnixStream,
    framer: Framer,
}

impl Link {
    fn open(server: &Server, database: &str) -> Self {
        let stream = UnixStream::connect(server.folder.join("s/.s.PGSQL.5432")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut link = Self { stream, framer: Framer::backend(&Limits::default()) };
        let parameters = [("user", "postgres"), ("database", database)];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut out = BytesMut::new();
        LoginFrame::Startup(StartupMessage { version: ProtocolVersion::V3_0, parameters }).encode(&mut out).unwrap();
        link.send(&out);
        loop {
            match link.receive() {
                Backend::ReadyForQuery(_) => break,
                Backend::ErrorResponse(fields) => panic!("login: {fields:?}"),
                _ => {}
            }
        }
        link
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn receive(&mut self) -> Backend {
        self.try_receive().expect("the server keeps the connection")
    }

    /// `None` at the end of the connection.
    fn try_receive(&mut self) -> Option<Backend> {
        loop {
            if let Some(frame) = self.framer.next().unwrap() {
                let message = Backend::decode(&frame).unwrap();
                if let Backend::ErrorResponse(fields) = &message {
                    assert!(!fields.is_fatal(), "{fields:?}");
                }
                let mut again = BytesMut::new();
                message.encode(&mut again).unwrap();
                assert_eq!(&again[..], &frame.bytes()[..], "encoding gives what the server sent");
                return Some(message);
            }
            let mut chunk = [0; 8192];
            let length = self.stream.read(&mut chunk).expect("an answer within 20 s");
            if length == 0 {
                return None;
            }
            self.framer.push(chunk.get(..length).unwrap()).unwrap();
        }
    }

    /// Runs a simple query; the first column of each row.
    fn query(&mut self, sql: &str) -> Vec<String> {
        let mut out = BytesMut::new();
        query(sql).encode(&mut out).unwrap();
        self.send(&out);
        let mut rows = Vec::new();
        loop {
            match self.receive() {
                Backend::DataRow(row) => {
                    let value = row.columns().next().flatten().unwrap_or_default();
                    rows.push(String::from_utf8(value.to_vec()).unwrap());
                }
                Backend::ErrorResponse(fields) => panic!("{sql}: {fields:?}"),
                Backend::ReadyForQuery(_) => return rows,
                _ => {}
            }
        }
    }
}

impl Drop for Link {
    /// Waits until the server's process is gone: hundreds of connections in a row would reach its limit.
    fn drop(&mut self) {
        let mut out = BytesMut::new();
        let _ = Frontend::Terminate.encode(&mut out);
        let _ = self.stream.write_all(&out);
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}

/// A PostgreSQL of its own in a temporary folder, ended and removed at the end.
struct Server {
    folder: PathBuf,
    process: std::process::Child,
}

impl Server {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("pgcodec-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let bin = binaries();
        // PostgreSQL refuses to run as root.
        let root = std::fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0);
        if root {
            assert!(Command::new("chown").arg("postgres").arg(&folder).status().unwrap().success());
        }
        let run = |program: &str| {
            let program = bin.join(program);
            let mut command = match root {
                true => Command::new("setpriv"),
                false => Command::new(&program),
            };
            if root {
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(&program);
            }
            command.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let (data, sockets) = (folder.join("d"), folder.join("s"));
        let made = run("initdb")
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "-D"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb works");
        std::fs::create_dir_all(&sockets).unwrap();
        if root {
            assert!(Command::new("chown").arg("postgres").arg(&sockets).status().unwrap().success());
        }
        let mut start = run("postgres");
        start.arg("-D").arg(&data).arg("-k").arg(&sockets).args(["-c", "listen_addresses=", "-F"]);
        let server = Self { process: start.spawn().unwrap(), folder };
        server.wait();
        Link::open(&server, "postgres").query("create database base");
        Link::open(&server, "base").query(
            "create table t (a int); create view v as select a from t; create table parent (a int primary key); \
             create table deferred (a int references parent deferrable initially deferred)",
        );
        for copy in ["native", "governed"] {
            // From one template, so that both have the same OIDs.
            server.again(&format!("create database {copy} template base"));
        }
        server
    }

    fn wait(&self) {
        let socket = self.folder.join("s/.s.PGSQL.5432");
        for _ in 0..200 {
            // The socket is there a moment before connections are accepted.
            if UnixStream::connect(&socket).is_ok() && ready(&socket) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not start");
    }

    /// The connection that made the template needs a moment to be gone.
    fn again(&self, sql: &str) {
        std::thread::sleep(Duration::from_millis(300));
        Link::open(self, "postgres").query(sql);
    }
}

/// Whether a startup packet is answered by anything but "the database system is starting up".
fn ready(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let mut out = BytesMut::new();
    let parameters = vec![("user".to_owned(), "postgres".to_owned())];
    LoginFrame::Startup(StartupMessage { version: ProtocolVersion::V3_0, parameters }).encode(&mut out).unwrap();
    let mut first = [0];
    stream.write_all(&out).is_ok() && stream.read_exact(&mut first).is_ok() && first == *b"R"
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// As `AGENTACCESS_POSTGRES` says, else the newest that is installed.
fn binaries() -> PathBuf {
    if let Some(chosen) = std::env::var_os("AGENTACCESS_POSTGRES") {
        return PathBuf::from(chosen).join("bin");
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    found.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    found.retain(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    found.sort();
    found.pop().expect("PostgreSQL server binaries (Debian: apt-get install postgresql)")
}
