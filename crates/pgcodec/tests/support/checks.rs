//! What the fuzz targets check, for any bytes. The corpus is replayed through the same functions on the stable compiler.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use pgcodec::backend::{CopyResponse, DataRow, ErrorFields, RowDescription, TxState};
use pgcodec::frontend::{Bind, Execute, Parse};
use pgcodec::{Backend, Format, Framer, Frontend, Limits, Machine, Target, Violation};

use super::model::Model;
use super::{DENY, Session};

fn limits() -> Limits {
    Limits {
        frontend_message: 512,
        bind_message: 1024,
        backend_message: 512,
        backend_row: 1024,
        statements: 2,
        portals: 2,
        batch: 6,
        pipeline: 12,
        ..Limits::default()
    }
}

/// Whatever decodes encodes to something that decodes to the same.
pub fn frontend(data: &[u8]) {
    let limits = limits();
    let mut framer = Framer::frontend(&limits);
    for piece in data.chunks(37) {
        framer.push(piece).expect("small pieces, asked in between");
        loop {
            let frame = match framer.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            let Ok(message) = Frontend::decode(&frame, &limits) else { return };
            let mut out = BytesMut::new();
            message.encode(&mut out).expect("what was decoded can be encoded");
            let mut again = Framer::frontend(&limits);
            again.push(&out).expect("as long as before");
            let frame = again.next().expect("a good frame").expect("a whole frame");
            assert_eq!(Frontend::decode(&frame, &limits), Ok(message));
            assert_eq!(again.buffered(), 0);
        }
        let longest = limits.frontend_message.max(limits.bind_message).max(limits.password);
        assert!(framer.buffered() <= longest + 5, "one unfinished frame");
    }
}

/// Whatever decodes encodes to something that decodes to the same.
pub fn backend(data: &[u8]) {
    let limits = limits();
    let mut framer = Framer::backend(&limits);
    for piece in data.chunks(37) {
        framer.push(piece).expect("small pieces, asked in between");
        loop {
            let frame = match framer.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            let Ok(message) = Backend::decode(&frame) else { return };
            if let Backend::DataRow(row) = &message {
                assert_eq!(row.columns().count(), row.len());
            }
            let mut out = BytesMut::new();
            message.encode(&mut out).expect("what was decoded can be encoded");
            let mut again = Framer::backend(&limits);
            again.push(&out).expect("as long as before");
            let frame = again.next().expect("a good frame").expect("a whole frame");
            assert_eq!(Backend::decode(&frame), Ok(message));
        }
        assert!(framer.buffered() <= 1024 + 5, "one unfinished frame");
    }
}

/// Runs a session: the first byte says how, then each pair of bytes is a message of the agent, or one answer of a small
/// server, or an answer that no honest server gives. An honest server is never out of step, and a session always ends.
pub fn machine(data: &[u8]) {
    let Some((mode, script)) = data.split_first() else { return };
    let mut run = Run {
        session: Session::new(Machine::new(&limits()), mode & 1 == 1, mode & 2 == 2),
        sent: Framer::frontend(&Limits::default()),
        model: Model::new(),
        answers: VecDeque::new(),
    };
    for pair in script.chunks_exact(2) {
        let &[what, argument] = pair else { return };
        let step = match what {
            0..=199 => run.session.agent(agent_message(what, argument)),
            200..=244 => run.answer(),
            _ => {
                // Hostile: refused, or attributed to something. Never a panic.
                match run.session.server(hostile(argument)) {
                    Ok(_) | Err(_) => return,
                }
            }
        };
        if step.is_err() {
            assert!(run.session.agent_fault, "only the agent is at fault: {step:?}");
            return;
        }
        run.transfer();
    }
    run.finish();
}

struct Run {
    session: Session,
    sent: Framer,
    model: Model,
    answers: VecDeque<Backend>,
}

impl Run {
    /// Whatever was written reaches the server.
    fn transfer(&mut self) {
        self.sent.push(&self.session.upstream.split()).expect("less than one read");
        while let Some(frame) = self.sent.next().expect("only good frames are written") {
            let message = Frontend::decode(&frame, &Limits::default()).expect("only good messages are written");
            if let Frontend::Query { sql } | Frontend::Parse(Parse { sql, .. }) = &message {
                assert!(!sql.contains(DENY), "a refused text was written");
            }
            self.answers.extend(self.model.take(message));
        }
    }

    fn answer(&mut self) -> Result<(), Violation> {
        match self.answers.pop_front() {
            Some(answer) => self.session.server(answer).map(drop),
            None => Ok(()),
        }
    }

    /// The agent ends what it began: then nothing is owed to anybody.
    fn finish(&mut self) {
        for _ in 0..3 {
            self.drain();
            if self.session.agent_fault {
                return;
            }
            let end = if self.session.machine.copying_in() { Frontend::CopyDone } else { Frontend::Sync };
            self.session.agent(end).expect("the end is always allowed");
            self.drain();
            if self.session.agent_fault {
                return;
            }
        }
        assert_eq!((self.session.waiting(), self.session.machine.in_flight()), (0, 0));
        assert!(!self.session.machine.skipping() && !self.session.machine.unsynced());
    }

    fn drain(&mut self) {
        self.transfer();
        while !self.answers.is_empty() {
            if let Err(violation) = self.answer() {
                assert!(self.session.agent_fault, "only the agent is at fault: {violation}");
                return;
            }
            self.transfer();
        }
    }
}

const TEXTS: &[&str] = &[
    "ok",
    "rows",
    "begin",
    "commit",
    "rollback",
    "fail",
    "bad",
    "",
    "deny_now",
    "deny_late",
    "copy in from stdin",
    "copy no from stdin",
    "copy out to stdout",
];

fn agent_message(what: u8, argument: u8) -> Frontend {
    let argument = usize::from(argument);
    let name = |shift: usize| ["", "a", "b", "_agentaccess_x"][(argument >> shift) % 16 % 4].to_owned();
    let sql = TEXTS[argument % TEXTS.len()].to_owned();
    let target = |name| if argument & 128 == 0 { Target::Statement(name) } else { Target::Portal(name) };
    match what % 20 {
        0..=2 => Frontend::Query { sql },
        3..=6 => Frontend::Parse(Parse {
            name: ["", "a", "b"][usize::from(what) / 20 % 3].to_owned(),
            sql,
            param_types: vec![],
        }),
        7..=9 => Frontend::Bind(Bind {
            portal: name(0),
            statement: name(2),
            formats: vec![],
            params: vec![],
            result_formats: vec![],
        }),
        10..=12 => Frontend::Execute(Execute { portal: name(0), max_rows: u32::from(argument & 16 != 0) }),
        13 => Frontend::Describe(target(name(0))),
        14 => Frontend::Close(target(name(0))),
        15 | 16 => Frontend::Sync,
        17 => Frontend::Flush,
        18 => Frontend::CopyData(Bytes::from_static(if argument & 1 == 0 { b"bad" } else { b"1" })),
        _ if argument & 1 == 0 => Frontend::CopyDone,
        _ => Frontend::CopyFail { message: "no".to_owned() },
    }
}

fn hostile(argument: u8) -> Backend {
    let copy = || CopyResponse { format: Format::Text, columns: vec![] };
    match argument % 18 {
        0 => Backend::ParseComplete,
        1 => Backend::BindComplete,
        2 => Backend::CloseComplete,
        3 => Backend::ReadyForQuery(TxState::Idle),
        4 => Backend::ReadyForQuery(TxState::Transaction),
        5 => Backend::CommandComplete { tag: "OK".to_owned() },
        6 => Backend::DataRow(DataRow::new([None].into_iter()).expect("a row")),
        7 => Backend::RowDescription(RowDescription::default()),
        8 => Backend::NoData,
        9 => Backend::ErrorResponse(ErrorFields::new("ERROR", "XX000", "x")),
        10 => Backend::ErrorResponse(ErrorFields::new("FATAL", "XX000", "x")),
        11 => Backend::NoticeResponse(ErrorFields::new("NOTICE", "00000", "x")),
        12 => Backend::CopyIn(copy()),
        13 => Backend::CopyOut(copy()),
        14 => Backend::CopyDone,
        15 => Backend::PortalSuspended,
        16 => Backend::EmptyQueryResponse,
        _ => Backend::ParameterDescription { types: vec![] },
    }
}
