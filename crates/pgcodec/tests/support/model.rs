//! A server as small as the protocol allows: names, transaction state, errors that skip to Sync, COPY.

use std::collections::BTreeMap;

use pgcodec::backend::{CopyResponse, DataRow, ErrorFields, Field, RowDescription, TxState};
use pgcodec::{Backend, Format, Frontend, Target};

pub struct Model {
    statements: BTreeMap<String, String>,
    /// Text and rows left.
    portals: BTreeMap<String, (String, u32)>,
    tx: TxState,
    skip: bool,
    /// A COPY FROM STDIN is open, by the extended protocol or not.
    copy: Option<bool>,
}

impl Model {
    pub fn new() -> Self {
        Self { statements: BTreeMap::new(), portals: BTreeMap::new(), tx: TxState::Idle, skip: false, copy: None }
    }

    /// What the server answers to one message.
    pub fn take(&mut self, message: Frontend) -> Vec<Backend> {
        if let Some(extended) = self.copy {
            return self.copying(message, extended);
        }
        match message {
            Frontend::Sync => {
                self.skip = false;
                self.ready()
            }
            Frontend::Terminate | Frontend::Flush | Frontend::Password(_) => vec![],
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail { .. } => vec![],
            _ if self.skip => vec![],
            Frontend::Query { sql } => self.query(&sql),
            Frontend::Parse(parse) => {
                if parse.name.is_empty() {
                    self.statements.remove("");
                }
                if !parses(&parse.sql) || self.statements.contains_key(&parse.name) {
                    return self.fail();
                }
                self.statements.insert(parse.name, parse.sql);
                vec![Backend::ParseComplete]
            }
            Frontend::Bind(bind) => {
                let Some(text) = self.statements.get(&bind.statement).cloned() else { return self.fail() };
                let taken = !bind.portal.is_empty() && self.portals.contains_key(&bind.portal);
                if taken || (self.tx == TxState::Failed && !ends(&text)) {
                    return self.fail();
                }
                self.portals.insert(bind.portal, (text, 3));
                vec![Backend::BindComplete]
            }
            Frontend::Execute(execute) => self.execute(&execute.portal, execute.max_rows),
            Frontend::Describe(Target::Statement(name)) => match self.statements.get(&name) {
                Some(text) => vec![Backend::ParameterDescription { types: vec![] }, describe(text)],
                None => self.fail(),
            },
            Frontend::Describe(Target::Portal(name)) => match self.portals.get(&name) {
                Some((text, _)) => vec![describe(text)],
                None => self.fail(),
            },
            Frontend::Close(target) => {
                match target {
                    Target::Statement(name) => self.statements.remove(&name).map(drop),
                    Target::Portal(name) => self.portals.remove(&name).map(drop),
                };
                vec![Backend::CloseComplete]
            }
        }
    }

    fn query(&mut self, sql: &str) -> Vec<Backend> {
        self.statements.remove("");
        let mut out = match () {
            () if sql.is_empty() => vec![Backend::EmptyQueryResponse],
            () if !parses(sql) => self.fail(),
            () => {
                self.portals.insert(String::new(), (sql.to_owned(), 3));
                let mut out = if sql == "rows" && self.tx != TxState::Failed { vec![describe(sql)] } else { vec![] };
                out.extend(self.execute("", 0));
                self.portals.remove("");
                out
            }
        };
        self.skip = false;
        match self.copy {
            Some(_) => self.copy = Some(false),
            None => out.extend(self.ready()),
        }
        out
    }

    fn execute(&mut self, portal: &str, max: u32) -> Vec<Backend> {
        let Some((text, left)) = self.portals.get(portal).cloned() else { return self.fail() };
        assert!(!text.contains("deny_late"), "a text ran that was refused whenever it was to run");
        if (self.tx == TxState::Failed && !ends(&text)) || text.contains("fail") || text == "copy no from stdin" {
            return self.fail();
        }
        match text.as_str() {
            "" => return vec![Backend::EmptyQueryResponse],
            "begin" => self.tx = TxState::Transaction,
            "commit" | "rollback" => {
                self.tx = TxState::Idle;
                self.portals.clear();
            }
            "rows" => {
                let count = if max == 0 { left } else { left.min(max) };
                let row = || Backend::DataRow(DataRow::new([Some(&b"1"[..])].into_iter()).unwrap());
                let mut out: Vec<_> = (0..count).map(|_| row()).collect();
                self.portals.insert(portal.to_owned(), (text, left - count));
                // As the server does: full is not known to be the end.
                out.push(match max != 0 && count == max {
                    true => Backend::PortalSuspended,
                    false => complete("SELECT"),
                });
                return out;
            }
            "copy in from stdin" => {
                self.copy = Some(true);
                return vec![Backend::CopyIn(CopyResponse { format: Format::Text, columns: vec![] })];
            }
            "copy out to stdout" => {
                let open = CopyResponse { format: Format::Text, columns: vec![] };
                let data = Backend::CopyData("1\n".into());
                return vec![Backend::CopyOut(open), data, Backend::CopyDone, complete("COPY 1")];
            }
            _ => {}
        }
        vec![complete("OK")]
    }

    fn copying(&mut self, message: Frontend, extended: bool) -> Vec<Backend> {
        let mut out = match message {
            Frontend::CopyData(data) if data.as_ref() != b"bad" => return vec![],
            Frontend::Sync | Frontend::Flush => return vec![],
            Frontend::CopyData(_) | Frontend::CopyFail { .. } => self.fail(),
            Frontend::CopyDone => vec![complete("COPY 1")],
            Frontend::Terminate => return vec![],
            other => panic!("{} in the middle of a COPY", other.name()),
        };
        self.copy = None;
        if !extended {
            self.skip = false;
            out.extend(self.ready());
        }
        out
    }

    fn ready(&mut self) -> Vec<Backend> {
        if self.tx == TxState::Idle {
            self.portals.clear();
        }
        vec![Backend::ReadyForQuery(self.tx)]
    }

    fn fail(&mut self) -> Vec<Backend> {
        self.skip = true;
        if self.tx == TxState::Transaction {
            self.tx = TxState::Failed;
        }
        vec![Backend::ErrorResponse(ErrorFields::new("ERROR", "XX000", "failed"))]
    }
}

fn parses(sql: &str) -> bool {
    !sql.contains("refused") && sql != "bad"
}

fn ends(sql: &str) -> bool {
    matches!(sql, "commit" | "rollback")
}

fn describe(sql: &str) -> Backend {
    if sql != "rows" {
        return Backend::NoData;
    }
    let name = "a".to_owned();
    let field = Field { name, table: 0, column: 0, type_oid: 23, type_len: 4, type_mod: -1, format: Format::Text };
    Backend::RowDescription(RowDescription { fields: vec![field] })
}

fn complete(tag: &str) -> Backend {
    Backend::CommandComplete { tag: tag.to_owned() }
}
