//! A session in miniature: it drives a [`Machine`] the way a proxy does, with a verdict that is a function of the text.
//! The tests and the fuzz targets share it.
#![allow(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: each test uses its part"
)]

pub mod checks;
pub mod model;

use std::collections::VecDeque;

use bytes::BytesMut;
use pgcodec::machine::{Copy, PortalId, StatementId};
use pgcodec::{Backend, Candidate, Control, Expect, Frontend, Machine, Reply, Step, Violation};

/// Texts with this word are refused, at Parse or Query.
pub const DENY: &str = "deny_now";
/// Texts with this word are refused at Execute.
pub const DENY_LATE: &str = "deny_late";

#[derive(Debug, Clone)]
enum Sent {
    Query(Copy),
    Parse(StatementId),
    Bind(PortalId),
    Execute(PortalId, Copy),
    CopyData,
    CopyEnd,
    Control(Control),
    Poison(Control),
}

pub struct Session {
    pub machine: Machine<u32, String, String>,
    /// Bytes for the upstream.
    pub upstream: BytesMut,
    /// What the agent would see: the messages not swallowed.
    pub seen: Vec<Backend>,
    /// Texts that were allowed to leave, in order.
    pub allowed: Vec<String>,
    /// Keep extended messages back up to Flush, Sync or a Query.
    hold: bool,
    /// Describe each portal for ourselves before its Execute.
    describe: bool,
    held: Vec<(Frontend, Option<Control>, Sent, u32)>,
    waiting: VecDeque<Frontend>,
    token: u32,
    /// The machine refused a message of the agent.
    pub agent_fault: bool,
}

impl Session {
    pub fn new(machine: Machine<u32, String, String>, hold: bool, describe: bool) -> Self {
        Self {
            machine,
            upstream: BytesMut::new(),
            seen: Vec::new(),
            allowed: Vec::new(),
            hold,
            describe,
            held: Vec::new(),
            waiting: VecDeque::new(),
            token: 0,
            agent_fault: false,
        }
    }

    /// Messages that wait for an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The agent sends a message.
    pub fn agent(&mut self, message: Frontend) -> Result<(), Violation> {
        self.waiting.push_back(message);
        self.pump(1)
    }

    /// The upstream answers.
    pub fn server(&mut self, message: Backend) -> Result<Reply<u32>, Violation> {
        let reply = self.machine.backend(message)?;
        if let Some(failure) = &reply.failure {
            if failure.fatal {
                return Ok(reply);
            }
            if self.machine.skipping() {
                self.held.clear();
            }
            if let Some(sync) = failure.sync.clone() {
                self.write(None, Some(sync.clone()), Sent::Control(sync), 0)?;
            }
        }
        if !reply.swallow {
            self.seen.push(reply.message.clone());
        }
        self.pump(usize::MAX)?;
        Ok(reply)
    }

    fn pump(&mut self, most: usize) -> Result<(), Violation> {
        // A message that waits is tried again only after an answer, so that the order stays.
        if most == 1 && self.waiting.len() > 1 {
            return Ok(());
        }
        while let Some(message) = self.waiting.pop_front() {
            if let Some(message) = self.step(message)? {
                self.waiting.push_front(message);
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, message: Frontend) -> Result<Option<Frontend>, Violation> {
        let step = self.machine.frontend(message).inspect_err(|_| self.agent_fault = true)?;
        let candidate = match step {
            Step::Wait(message) => {
                // What is kept back may be what the answer depends on.
                self.release()?;
                return Ok(Some(message));
            }
            Step::Discard => return Ok(None),
            Step::Refuse(_) => {
                self.poison()?;
                return Ok(None);
            }
            Step::Control(control) => {
                self.queue(None, Some(control.clone()), Sent::Control(control.clone()))?;
                if matches!(control.name(), "Sync" | "Flush" | "Terminate") {
                    self.release()?;
                }
                return Ok(None);
            }
            Step::Candidate(candidate) => candidate,
        };
        self.candidate(candidate)?;
        Ok(None)
    }

    fn candidate(&mut self, candidate: Candidate) -> Result<(), Violation> {
        match candidate {
            Candidate::Query { sql } if sql.contains(DENY) || sql.contains(DENY_LATE) => {
                let poison = self.machine.poison_query();
                self.queue(None, Some(poison.clone()), Sent::Poison(poison))?;
                self.release()
            }
            Candidate::Query { sql } => {
                self.allowed.push(sql.clone());
                let copy = copy_of(&sql);
                self.queue(Some(Frontend::Query { sql }), None, Sent::Query(copy))?;
                self.release()
            }
            Candidate::Prepare { message, .. } if message.sql.contains(DENY) => self.poison(),
            Candidate::Prepare { id, message } => {
                self.allowed.push(message.sql.clone());
                assert!(self.machine.attach_statement(id, message.sql.clone()));
                self.queue(Some(Frontend::Parse(message)), None, Sent::Parse(id))
            }
            Candidate::Bind { id, statement, message } => {
                let text = self.machine.statement(statement).cloned().expect("a statement that was decided");
                assert!(self.machine.attach_portal(id, text));
                self.queue(Some(Frontend::Bind(message)), None, Sent::Bind(id))
            }
            Candidate::Execute { portal, message } => {
                let text = self.machine.portal(portal).cloned().expect("a portal that was decided");
                if text.contains(DENY_LATE) {
                    return self.poison();
                }
                let copy = copy_of(&text);
                if self.describe {
                    let describe = self.machine.describe_portal(portal).expect("a portal that the machine holds");
                    self.queue(None, Some(describe.clone()), Sent::Control(describe))?;
                }
                self.queue(Some(Frontend::Execute(message)), None, Sent::Execute(portal, copy))?;
                if copy == Copy::In {
                    let flush = self.machine.flush();
                    self.queue(None, Some(flush.clone()), Sent::Control(flush))?;
                    self.release()?;
                }
                Ok(())
            }
            // As if it were a cursor of SQL.
            Candidate::Describe { name } => {
                let describe = self.machine.describe_cursor(name, 7);
                self.queue(None, Some(describe.clone()), Sent::Control(describe))
            }
            Candidate::CopyData(data) => self.queue(Some(Frontend::CopyData(data)), None, Sent::CopyData),
            Candidate::CopyDone => self.queue(Some(Frontend::CopyDone), None, Sent::CopyEnd),
            Candidate::CopyFail { message } => self.queue(Some(Frontend::CopyFail { message }), None, Sent::CopyEnd),
        }
    }

    fn poison(&mut self) -> Result<(), Violation> {
        let poison = self.machine.poison_parse();
        self.queue(None, Some(poison.clone()), Sent::Poison(poison))?;
        // From here on the machine knows that the rest of the batch is dropped.
        self.release()
    }

    fn queue(&mut self, message: Option<Frontend>, control: Option<Control>, sent: Sent) -> Result<(), Violation> {
        self.token += 1;
        if self.hold {
            // The fields of a frontend message are needed only when there is no control.
            self.held.push((message.unwrap_or(Frontend::Flush), control, sent, self.token));
            if self.machine.copying_in() || matches!(self.held.last(), Some((_, _, Sent::CopyEnd, _))) {
                self.release()?;
            }
            return Ok(());
        }
        self.write(message, control, sent, self.token)
    }

    fn release(&mut self) -> Result<(), Violation> {
        for (message, control, sent, token) in std::mem::take(&mut self.held) {
            let passes = matches!(&sent, Sent::Control(control) if control.is_sync() || control.is_terminate());
            if self.machine.skipping() && !passes {
                continue;
            }
            self.write(Some(message), control, sent, token)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        message: Option<Frontend>,
        control: Option<Control>,
        sent: Sent,
        token: u32,
    ) -> Result<(), Violation> {
        match (&control, message) {
            (Some(control), _) => control.encode(&mut self.upstream),
            (None, Some(message)) => message.encode(&mut self.upstream)?,
            (None, None) => {}
        }
        self.machine.sent(match &sent {
            Sent::Query(copy) => Expect::Query { token, copy: *copy },
            Sent::Parse(id) => Expect::Parse { token, id: *id },
            Sent::Bind(id) => Expect::Bind { token: None, id: *id },
            Sent::Execute(portal, copy) => Expect::Execute { token, portal: *portal, copy: *copy },
            Sent::CopyData => return Ok(()),
            Sent::CopyEnd => Expect::CopyEnd,
            Sent::Control(control) => Expect::Control(control),
            Sent::Poison(poison) => Expect::Poison { token, poison },
        })
    }
}

fn copy_of(sql: &str) -> Copy {
    match (sql.starts_with("copy"), sql.contains("from stdin"), sql.contains("to stdout")) {
        (true, true, _) => Copy::In,
        (true, _, true) => Copy::Out,
        _ => Copy::No,
    }
}
