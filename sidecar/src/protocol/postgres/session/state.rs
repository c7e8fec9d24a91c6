//! What the state of the session forbids whatever policy says, and what a statement changes of it when it is sent.

use pgcodec::TxState;
use pgsql::plan::{Effect, Plan};
use policy::operation::{Access, ResourceKind, Strictness};

use super::super::refusal::Words;
use super::Session;
use super::cursor::being_declared;

/// Cursors that one session may declare.
const CURSORS: usize = 256;

/// Changes that give a new name to something new, or none at all: what others mean stays.
const ADDS: [&str; 7] =
    ["CREATE TABLE", "CREATE TABLE AS", "CREATE INDEX", "CREATE SEQUENCE", "CREATE SCHEMA", "CREATE TYPE", "COMMENT"];
/// Those of them that go by no name that is there, when theirs is the only one.
const MAKES: [&str; 4] = ["CREATE TABLE", "CREATE SEQUENCE", "CREATE SCHEMA", "CREATE TYPE"];

/// Whether it means another thing when names do.
fn goes_by_names(plan: &Plan) -> bool {
    let by_name = |access: &Access| {
        use ResourceKind as Kind;
        match access.resource.kind {
            Kind::Relation | Kind::RelationStream | Kind::Function | Kind::Object | Kind::Code => true,
            Kind::Target
            | Kind::Catalog
            | Kind::Program
            | Kind::SessionSetting
            | Kind::Setting
            | Kind::Role
            | Kind::Channel
            | Kind::Transaction => false,
        }
    };
    match plan.accesses.iter().filter(|access| by_name(access)).count() {
        0 => false,
        1 => !MAKES.contains(&plan.action.as_str()),
        _ => true,
    }
}

impl Session {
    /// What cannot be sent in this state of the session, whatever policy says.
    pub(super) fn forbidden_now(&self, plan: &Plan) -> Option<Words> {
        let ends_transaction = matches!(plan.effect, Effect::Rollback | Effect::Commit | Effect::RollbackTo { .. });
        if self.machine.tx_state() == TxState::Failed && !ends_transaction && plan.ceiling != Strictness::Deny {
            // The server would refuse it too; asking people or recording an intent for it would be noise.
            return Some(Words::new(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        // COMMIT of a failed transaction is a ROLLBACK, and drivers send it.
        if self.must_roll_back && !matches!(plan.effect, Effect::Rollback | Effect::Commit) {
            let mut words =
                Words::new("25P02", "the approval did not come in time: the transaction has to be rolled back");
            words.hint = Some("Send ROLLBACK.".to_owned());
            return Some(words);
        }
        if self.batch_committed && self.machine.unsynced() {
            let mut words = Words::new("42501", "refused: COMMIT or ROLLBACK ends a batch");
            words.hint = Some("Send Sync after COMMIT or ROLLBACK before anything else.".to_owned());
            return Some(words);
        }
        if self.names_moved && goes_by_names(plan) {
            let mut words = Words::new(
                "55000",
                "refused: this transaction has changed the schema, and what names mean in it is not known",
            );
            words.hint = Some(
                "Send Sync behind a change of the schema, before what comes next, and change it at READ COMMITTED only.".to_owned(),
            );
            return Some(words);
        }
        match &plan.effect {
            Effect::CopyOut { binary: true } if self.planner.net().is_some() => {
                let mut words = Words::new(
                    "42501",
                    "refused: COPY in binary form says nothing of its types, and detectors look at all that comes back",
                );
                words.hint = Some("Use the format text or csv.".to_owned());
                Some(words)
            }
            Effect::FetchCursor { name } if self.declaring(name) => Some(being_declared(name)),
            Effect::FetchCursor { name } if !self.cursors.contains_key(name) || self.machine.has_portal(name) => {
                Some(Words::new("34000", format!("cursor {name:?} does not exist")))
            }
            Effect::DeclareCursor { name } if !self.cursors.contains_key(name) && self.cursors.len() >= CURSORS => {
                Some(Words::new("54000", format!("more than {CURSORS} cursors: close some")))
            }
            _ => None,
        }
    }

    /// Names and flags that change when this is sent.
    pub(super) fn before_effect(&mut self, plan: &Plan) {
        match &plan.effect {
            // The cursor is what it reads only when the target says so: an old one of this name may stay.
            Effect::DeclareCursor { name } => self.machine.forget_portal(name),
            Effect::CloseCursor { name: Some(name) } => self.machine.forget_portal(name),
            Effect::CloseCursor { name: None } => self.machine.forget_all_portals(),
            Effect::Deallocate { name: Some(name) } => self.machine.forget_statement(name),
            Effect::Deallocate { name: None } => self.machine.forget_all_statements(),
            // Not when it is answered: what is judged behind it in its batch is none of what it takes back.
            Effect::RollbackTo { .. } => {
                self.names_moved |= self.uncommitted.has_changed();
                self.uncommitted.rolled_back();
            }
            Effect::ChangesCatalog => self.names_moved |= !ADDS.contains(&plan.action.as_str()),
            Effect::Listen { channel } => {
                self.listening.insert(channel.clone());
            }
            Effect::None
            | Effect::Empty
            | Effect::Begin
            | Effect::Commit
            | Effect::Rollback
            | Effect::Savepoint { .. }
            | Effect::Release { .. }
            | Effect::Set { .. }
            | Effect::FetchCursor { .. }
            | Effect::CopyOut { .. }
            | Effect::CopyIn { .. }
            | Effect::Unlisten { .. }
            | Effect::Notify { .. } => {}
        }
    }
}
