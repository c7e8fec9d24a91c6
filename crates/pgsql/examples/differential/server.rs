//! The server that runs the corpus, and what it says of locks.

use std::collections::BTreeMap;
use std::rc::Rc;

use e2e::postgres::{Options, Server};
use e2e::wire::{Answer, Login, Wire};
use pgsql::{Catalog, SNAPSHOT};

use crate::Result;

const ROLE: &str = "regress";
const PASSWORD: &str = "regress";
const BASE: &str = "base";
/// Without an answer for so long a statement is given up.
const PATIENCE: &str = "5s";
/// How often the session has scanned each table, and rows that it changed in it; what was reported in between is forgotten.
const USED: &str = "
SELECT schemaname, relname, seq_scan + coalesce(idx_scan, 0), n_tup_ins + n_tup_upd + n_tup_del
FROM pg_catalog.pg_stat_xact_user_tables";
/// Relations of users that the session has locked: schema, name, kind, whose the sequence is, and which tables a foreign key
/// leads to it from, or from it to, and whose row policies look at it. An index stands for its table.
const LOCKED: &str = "
SELECT DISTINCT n.nspname, c.relname, c.relkind,
  (SELECT o.relname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class o ON o.oid = d.refobjid
   WHERE c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') LIMIT 1),
  (SELECT pg_catalog.string_agg(o.relname, ',') FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class o ON o.oid = k.conrelid
   WHERE k.contype = 'f' AND k.confrelid = c.oid),
  (SELECT pg_catalog.string_agg(o.relname, ',') FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class o ON o.oid = k.confrelid
   WHERE k.contype = 'f' AND k.conrelid = c.oid),
  (SELECT pg_catalog.string_agg(o.relname, ',') FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_policy k ON k.oid = d.objid
     JOIN pg_catalog.pg_class o ON o.oid = k.polrelid
   WHERE d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.refobjid = c.oid)
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class x ON x.oid = l.relation
     LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid
     JOIN pg_catalog.pg_class c ON c.oid = coalesce(i.indrelid, x.oid)
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')";

/// A relation that a statement has locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) path: Vec<String>,
    /// As `pg_class.relkind`.
    pub(crate) kind: String,
    pub(crate) used: Used,
    /// Of a sequence: the table whose column it is for.
    pub(crate) owner: Option<String>,
    /// Tables with a foreign key to it.
    pub(crate) referenced: Vec<String>,
    /// Tables that a foreign key of it leads to.
    pub(crate) references: Vec<String>,
    /// Tables whose row policies look at it.
    pub(crate) policies: Vec<String>,
}

/// What became of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Used {
    Not,
    Read,
    Changed,
}

/// Scans and changes of each table.
type Counts = BTreeMap<Vec<String>, [String; 2]>;

pub(crate) struct Target {
    server: Server,
}

pub(crate) struct Session {
    port: u16,
    database: String,
    wire: Wire,
    catalog: Option<Rc<Catalog>>,
    stale: bool,
}

// === impl Target ===

impl Target {
    pub(crate) fn start() -> Result<Self> {
        let server = Server::start(Options { tls: false, ..Options::default() })?;
        server.admin(&format!("CREATE ROLE {ROLE} SUPERUSER LOGIN PASSWORD '{PASSWORD}'"))?;
        server.admin(&format!("ALTER ROLE {ROLE} SET statement_timeout = '{PATIENCE}'"))?;
        // Compiling the look at the catalog takes longer than the look.
        server.admin(&format!("ALTER ROLE {ROLE} SET jit = off"))?;
        server.admin(&format!("CREATE DATABASE {BASE}"))?;
        Ok(Self { server })
    }

    pub(crate) fn version(&self) -> Result<String> {
        Ok(self.server.admin("SHOW server_version")?)
    }

    /// A database of its own, in which the set-up ran.
    pub(crate) fn session(&self, name: &str, set_up: &[String]) -> Result<Session> {
        let database = format!("regress_{name}");
        self.server.admin(&format!("CREATE DATABASE \"{database}\" TEMPLATE {BASE}"))?;
        let port = self.server.port();
        let wire = connect(port, &database)?;
        let mut session = Session { port, database, wire, catalog: None, stale: true };
        for sql in set_up {
            session.run(sql)?;
        }
        Ok(session)
    }
}

fn connect(port: u16, database: &str) -> Result<Wire> {
    Ok(Wire::connect(port, &Login::new(ROLE, PASSWORD, database))?)
}

// === impl Session ===

impl Session {
    /// As it is now; nothing while the transaction has failed.
    pub(crate) fn catalog(&mut self) -> Result<Option<Rc<Catalog>>> {
        if self.wire.status == b'E' {
            return Ok(None);
        }
        if self.stale || self.catalog.is_none() {
            self.catalog = self.snapshot()?.map(Rc::new);
            self.stale = false;
        }
        Ok(self.catalog.clone())
    }

    fn snapshot(&mut self) -> Result<Option<Catalog>> {
        let mut rows = Vec::new();
        for part in SNAPSHOT {
            let answer = self.ask(part)?;
            if answer.fault.is_some() {
                return Ok(None);
            }
            rows.push(answer.texts().into_iter().flatten().collect());
        }
        Ok(Catalog::from_rows(&rows).ok())
    }

    /// As psql would; says whether it was done.
    pub(crate) fn run(&mut self, sql: &str) -> Result<bool> {
        let answer = self.ask(sql)?;
        self.stale |= !answer.tags.iter().all(|tag| is_of_rows(tag));
        Ok(answer.fault.is_none())
    }

    /// Runs it, and says which relations were locked at its end. Nothing: it failed, and nothing of it is left.
    pub(crate) fn touched(&mut self, sql: &str) -> Result<Option<Vec<Touched>>> {
        let own = self.wire.status == b'I';
        self.ask(if own { "BEGIN" } else { "SAVEPOINT e2e_differential" })?;
        // What an earlier statement of the same transaction has locked is not this one's.
        let (before, counts) = (self.locks(&BTreeMap::new())?, self.counts()?);
        let answer = self.ask(sql)?;
        if answer.fault.is_some() {
            self.ask(if own { "ROLLBACK" } else { "ROLLBACK TO SAVEPOINT e2e_differential" })?;
            return Ok(None);
        }
        let mut touched = self.locks(&counts)?;
        touched.retain(|one| before.iter().all(|other| other.path != one.path));
        self.stale |= !answer.tags.iter().all(|tag| is_of_rows(tag));
        if own && self.wire.status != b'I' {
            self.ask("COMMIT")?;
        }
        Ok(Some(touched))
    }

    fn counts(&mut self) -> Result<Counts> {
        let rows = self.ask(USED)?.texts().into_iter();
        let read = rows.filter_map(|row| match <[String; 4]>::try_from(row) {
            Ok([schema, name, scans, changes]) => Some((vec![schema, name], [scans, changes])),
            Err(_) => None,
        });
        Ok(read.collect())
    }

    /// `counts`: those of before.
    fn locks(&mut self, counts: &Counts) -> Result<Vec<Touched>> {
        let now = self.counts()?;
        let answer = self.ask(LOCKED)?;
        let touched = answer.texts().into_iter().filter_map(|row| match <[String; 7]>::try_from(row) {
            Ok([schema, name, kind, owner, referenced, references, policies]) => {
                let path = vec![schema, name];
                let none = || ["0".to_owned(), "0".to_owned()];
                let [scans, changes] = now.get(&path).cloned().unwrap_or_else(none);
                let [scans_before, changes_before] = counts.get(&path).cloned().unwrap_or_else(none);
                let scanned = scans != "0" && scans != scans_before;
                let changed = changes != "0" && changes != changes_before;
                let used = match (scanned, changed) {
                    (_, true) => Used::Changed,
                    (true, false) => Used::Read,
                    (false, false) => Used::Not,
                };
                let names = |text: String| text.split(',').map(str::to_owned).collect();
                let [referenced, references, policies] = [referenced, references, policies].map(names);
                let owner = (owner != "∅").then_some(owner);
                Some(Touched { path, kind, used, owner, referenced, references, policies })
            }
            Err(_) => None,
        });
        Ok(touched.collect())
    }

    /// A connection that a statement has ended is made anew.
    fn ask(&mut self, sql: &str) -> Result<Answer> {
        match self.wire.query(sql) {
            Ok(answer) if answer.status.is_some() => {
                self.wire.status = answer.status.unwrap_or(b'I');
                Ok(answer)
            }
            Ok(answer) => {
                self.wire = connect(self.port, &self.database)?;
                self.stale = true;
                Ok(Answer { fault: Some(answer.fault.unwrap_or_default()), ..answer })
            }
            Err(_) => {
                self.wire = connect(self.port, &self.database)?;
                self.stale = true;
                Ok(Answer { fault: Some(e2e::wire::Fault::default()), ..Answer::default() })
            }
        }
    }
}

/// Of a statement that changes no definition and no setting.
fn is_of_rows(tag: &str) -> bool {
    let words = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "FETCH", "COPY", "SHOW", "EXPLAIN"];
    tag.split(' ').next().is_some_and(|word| words.contains(&word))
}
