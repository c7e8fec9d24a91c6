//! What the session wrote: the answer that it will get is put in the queue.

use super::Machine;
use super::control::{Control, Kind as ControlKind};
use super::slot::{CopyState, Kind, Progress, Slot};
use super::step::{Copy, Expect};
use crate::Violation;

impl<T: core::marker::Copy, S, P> Machine<T, S, P> {
    /// Says that a message was written upstream. Call it for every message but `CopyData`, in the order of
    /// writing.
    ///
    /// # Errors
    /// [`Violation::Misuse`] when the message must not have been written: the name was taken back by an error, or the
    /// upstream drops everything up to `Sync`, or a COPY has to begin first. Close both sides.
    pub fn sent(&mut self, what: Expect<'_, T>) -> Result<(), Violation> {
        match what {
            Expect::Query { token, copy } => self.simple(token, copy, false),
            Expect::Parse { token, id } => {
                pending(self.statements.is_pending(id.0, self.written))?;
                self.extended(Kind::Parse { id }, Some(token), false)
            }
            Expect::Bind { token, id } => {
                pending(self.portals.is_pending(id.0, self.written))?;
                self.extended(Kind::Bind { id }, token, false)
            }
            Expect::Execute { token, portal, copy } => {
                pending(self.portals.name(portal.0).is_some())?;
                self.extended(Kind::Execute { portal, copy }, Some(token), false)
            }
            Expect::CopyEnd => {
                // When the COPY failed in between, the upstream ignores its end.
                if let Some(state @ CopyState::InEnding) = self.slots.front_mut().map(|slot| &mut slot.progress.copy) {
                    *state = CopyState::InEnded { refused: false };
                }
                Ok(())
            }
            Expect::Control(control) => self.control(control),
            Expect::Poison { token, poison } => match poison.kind {
                ControlKind::PoisonQuery => {
                    self.simple(token, Copy::No, true)?;
                    // It may stand for a COPY whose data the agent sends without waiting.
                    self.draining = true;
                    Ok(())
                }
                ControlKind::PoisonParse => {
                    self.extended(Kind::PoisonParse, Some(token), false)?;
                    // The error is certain, so is what the upstream does with the rest of the batch.
                    self.skip = Some(self.written);
                    self.draining = true;
                    Ok(())
                }
                _ => Err(Violation::Misuse { what: "a message that is no poison" }),
            },
        }
    }

    fn control(&mut self, control: &Control) -> Result<(), Violation> {
        match &control.kind {
            ControlKind::Flush | ControlKind::Terminate => Ok(()),
            ControlKind::CopyFail => self.copy_failed(),
            ControlKind::Sync => {
                self.no_copy()?;
                self.skip = None;
                self.unsynced = false;
                self.push(Kind::Sync, None, false);
                self.written = self.written.saturating_add(1);
                Ok(())
            }
            ControlKind::DescribeStatement { id, .. } => {
                self.extended(Kind::DescribeStatement { id: *id }, None, false)
            }
            ControlKind::DescribePortal { id, swallow, .. } => {
                self.extended(Kind::DescribePortal { id: *id }, None, *swallow)
            }
            ControlKind::DescribeCursor { cursor, .. } => {
                self.extended(Kind::DescribeCursor { cursor: *cursor }, None, false)
            }
            ControlKind::CloseStatement { tombstone, .. } => {
                self.extended(Kind::CloseStatement { tombstone: *tombstone }, None, false)
            }
            ControlKind::ClosePortal { tombstone, .. } => {
                self.extended(Kind::ClosePortal { tombstone: *tombstone }, None, false)
            }
            ControlKind::PoisonQuery | ControlKind::PoisonParse => {
                Err(Violation::Misuse { what: "a poison without the operation that it stands for" })
            }
        }
    }

    /// A simple Query also takes the unnamed statement and portal away, whatever its text is (`exec_simple_query`).
    fn simple(&mut self, token: T, copy: Copy, poison: bool) -> Result<(), Violation> {
        self.no_copy()?;
        self.no_skip()?;
        let unnamed = (self.id(), self.id());
        self.statements.remove("", unnamed.0, self.written);
        self.portals.remove("", unnamed.1, self.written);
        self.unsynced = false;
        self.push(Kind::Query { copy, unnamed, poison }, Some(token), false);
        Ok(())
    }

    fn extended(&mut self, kind: Kind, token: Option<T>, swallow: bool) -> Result<(), Violation> {
        self.no_copy()?;
        self.no_skip()?;
        self.unsynced = true;
        self.push(kind, token, swallow);
        Ok(())
    }

    fn push(&mut self, kind: Kind, token: Option<T>, swallow: bool) {
        let batch = self.written;
        self.slots.push_back(Slot { kind, token, batch, swallow, progress: Progress::default() });
    }

    fn copy_failed(&mut self) -> Result<(), Violation> {
        match self.slots.front_mut().map(|slot| &mut slot.progress.copy) {
            Some(state @ (CopyState::In { .. } | CopyState::InEnding)) => {
                self.draining = *state != CopyState::InEnding;
                *state = CopyState::InEnded { refused: true };
                Ok(())
            }
            _ => Err(Violation::Misuse { what: "CopyFail outside a COPY FROM STDIN" }),
        }
    }

    fn no_copy(&self) -> Result<(), Violation> {
        let front = self.slots.front().map(|slot| slot.progress.copy);
        let open = matches!(front, Some(CopyState::In { .. } | CopyState::InEnding));
        match open || self.slots.iter().any(Slot::awaits_copy) {
            true => Err(Violation::Misuse { what: "a message behind a COPY FROM STDIN that has not ended" }),
            false => Ok(()),
        }
    }

    fn no_skip(&self) -> Result<(), Violation> {
        match self.skip {
            Some(_) => {
                Err(Violation::Misuse { what: "a message that the upstream drops because of an error before it" })
            }
            None => Ok(()),
        }
    }
}

fn pending(holds: bool) -> Result<(), Violation> {
    match holds {
        true => Ok(()),
        false => Err(Violation::Misuse { what: "a message about a name that is gone" }),
    }
}
