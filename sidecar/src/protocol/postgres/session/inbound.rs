//! The agent's messages, in order: each becomes an operation that is admitted and sent, or refused with a poison.

use std::sync::Arc;

use pgcodec::machine::{Copy, PortalId, StatementId};
use pgcodec::{Candidate, Control, Expect, Frontend, Step, TxState};
use pgsql::Refused as NotPlanned;
use pgsql::names;
use pgsql::plan::{Effect, Plan};
use pgsql::refused::Code;
use policy::operation::Operation;
use policy::verdict::DenyReason;

use super::super::operation;
use super::super::refusal::{Words, words_not_planned};
use super::super::statement::Judged;
use super::company::Company;
use super::copy_in::COPY_IN_BYTES;
use super::flight::{Flight, Token};
use super::impact::{Sketch, Values};
use super::snapshot::Loaded;
use super::unit::{Kept, not_decided};
use super::{End, Session, agent, catalog_not_read, encoded};
use crate::gate::{Moment, NotHeld, Permit, Refusal, Refused, Released, Stage};
use crate::upstream::HIGH_WATER;

/// How often a statement is planned again because the policy changed in between.
pub(super) const REPLANS: usize = 3;

/// What is known of the text of an operation.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    Nothing,
    NotPlanned(&'a NotPlanned),
    /// It runs, without parameters.
    Query(&'a Plan),
    /// It runs, with the values of a portal.
    Portal(&'a Plan, PortalId),
}

impl Session {
    /// Takes messages as far as they go. `true`: until none is complete; `false`: one has to wait, or a side is full.
    pub(super) async fn take_agent_messages(&mut self) -> Result<bool, End> {
        loop {
            if self.upstream.waiting() > HIGH_WATER || self.agent.writer.waiting() > agent::HIGH_WATER {
                return Ok(false);
            }
            let message = match self.waiting.take() {
                Some(message) => message,
                None => match self.agent.reader.framer.next().map_err(End::Agent)? {
                    None => return Ok(true),
                    Some(frame) => Frontend::decode(&frame, &self.core.codec_limits()).map_err(End::Agent)?,
                },
            };
            if self.waits_its_turn(&message) {
                self.waiting = Some(message);
                return Ok(false);
            }
            match self.machine.frontend(message).map_err(End::Agent)? {
                Step::Discard => {}
                Step::Wait(message) => {
                    self.waiting = Some(message);
                    return Ok(false);
                }
                Step::Refuse(reject) => {
                    if self.release().await? {
                        self.refuse_extended_with(Words::new(reject.sqlstate(), reject.to_string()))?;
                    }
                }
                Step::Control(control) => self.take_control(control).await?,
                Step::Candidate(candidate) => self.take_candidate(candidate).await?,
            }
        }
    }

    /// One batch at a time: what was sent ends with a Sync or a Query that is not answered yet. What comes behind it is
    /// judged when that answer is there, on the policy and in the transaction of that moment, and a policy that
    /// changes meanwhile cuts one batch, not a queue at the target.
    fn waits_its_turn(&self, message: &Frontend) -> bool {
        let begins = matches!(
            message,
            Frontend::Query { .. }
                | Frontend::Parse(_)
                | Frontend::Bind(_)
                | Frontend::Execute(_)
                | Frontend::Describe(_)
                | Frontend::Close(_)
                | Frontend::Sync
        );
        // A server would have run and kept what was sent before the goodbye.
        let leaves = self.guard.is_some() && matches!(message, Frontend::Terminate) && !self.machine.unsynced();
        leaves || (begins && self.machine.in_flight() > 0 && !self.machine.unsynced() && !self.machine.copying_in())
    }

    async fn take_control(&mut self, control: Control) -> Result<(), End> {
        if control.is_terminate() {
            // The agent asked for no answer to what is kept back.
            self.drop_kept();
            self.control(&control)?;
            let _ = self.upstream.flush().await;
            return Err(End::Terminated);
        }
        if let Some(portal) = control.describes()
            && let Some(portal) = self.machine.portal_mut(portal)
        {
            portal.described = true;
        }
        if control.is_sync() || control.is_flush() {
            self.release().await?;
            if control.is_sync() {
                self.batch_committed = false;
            } else {
                self.flush_guard()?;
            }
            return self.control(&control);
        }
        self.keep(Kept::Control(control));
        Ok(())
    }

    async fn take_candidate(&mut self, candidate: Candidate) -> Result<(), End> {
        if self.guard.is_some() {
            match candidate {
                Candidate::Query { .. } => return self.refuse_query_with(not_alone()),
                Candidate::Prepare { .. }
                | Candidate::Bind { .. }
                | Candidate::Execute { .. }
                | Candidate::Describe { .. } => {
                    return self.release_then_refuse(not_alone()).await;
                }
                Candidate::CopyData(_) | Candidate::CopyDone | Candidate::CopyFail { .. } => {}
            }
        }
        match candidate {
            Candidate::Query { sql } => {
                // If something kept back was refused, the server skips to Sync, and so does the machine with this text.
                if self.release().await? { self.query(sql).await } else { Ok(()) }
            }
            Candidate::Prepare { id, message } => self.prepare(id, message).await,
            Candidate::Bind { id, statement, message } => self.bind(id, statement, message).await,
            Candidate::Execute { portal, message } => self.execute(portal, &message).await,
            Candidate::Describe { name } => self.describe_cursor(name).await,
            Candidate::CopyData(data) => self.copy_data(&data),
            Candidate::CopyDone => self.copy_end(&Frontend::CopyDone),
            Candidate::CopyFail { .. } => {
                // The agent's own words for why are not needed upstream.
                self.copy_end(&Frontend::CopyFail { message: "canceled by the client".to_owned() })
            }
        }
    }

    /// Judges a text on the policy and catalog of this moment; looks again once if a name may be new.
    pub(super) async fn judge(&mut self, sql: &str) -> Result<Arc<Judged>, End> {
        let judged = self.judge_by_names(sql).await?;
        let renames = judged.plan.as_ref().is_ok_and(|plan| matches!(plan.effect, Effect::ChangesCatalog));
        if !renames || !self.uncommitted.is_read() {
            return Ok(judged);
        }
        // A name that only this transaction has freed: who waits for its end would find something else under it.
        let public = self.catalog.current(&self.core).await.map_err(catalog_not_read)?;
        let own = &self.planner.loaded().catalog;
        let taken = judged.plan.as_ref().ok().and_then(|plan| names::taken(plan, own, &public.catalog));
        Ok(match taken {
            None => judged,
            Some(why) => Arc::new(Judged {
                sql: judged.sql.clone(),
                plan: Err(why),
                planned: judged.planned,
                catalog: judged.catalog.clone(),
            }),
        })
    }

    async fn judge_by_names(&mut self, sql: &str) -> Result<Arc<Judged>, End> {
        self.refresh().await?;
        let judged = self.planner.judge(sql.to_owned()).await;
        if !self.planner.is_recent_for(&judged) {
            let loaded = match self.uncommitted_catalog(Loaded::is_recent).await? {
                Some(loaded) => loaded,
                None => self.catalog.recent(&self.core).await.map_err(catalog_not_read)?,
            };
            self.planner.follow(loaded, self.desk.view());
            return Ok(self.planner.judge(sql.to_owned()).await);
        }
        // No catalog makes a text of what is none.
        let settled = judged.plan.as_ref().map_or_else(|why| why.code == Code::Syntax, |_| true);
        if settled || self.uncommitted.is_read() {
            return Ok(judged);
        }
        let seen = Arc::clone(self.planner.loaded());
        match self.catalog.second_look(&self.core, &seen).await {
            Some(loaded) => {
                self.planner.follow(loaded, self.desk.view());
                Ok(self.planner.judge(sql.to_owned()).await)
            }
            None => Ok(judged),
        }
    }

    /// What was judged earlier, on the policy and catalog of this moment; `None` if the target would get another text.
    pub(super) async fn still_means(&mut self, then: &Arc<Judged>) -> Result<Option<Arc<Judged>>, End> {
        self.refresh().await?;
        if self.planner.is_current(then) {
            return Ok(Some(Arc::clone(then)));
        }
        let now = self.judge(&then.sql).await?;
        let same = matches!((&now.plan, &then.plan), (Ok(now), Ok(then)) if now.text == then.text);
        Ok(same.then_some(now))
    }

    /// Through the gate, keeping the agent company while it waits.
    pub(super) async fn admit(&mut self, operation: &Operation, stage: Stage<'_>) -> Result<Permit, Refused> {
        self.admit_about(operation, stage, About::Nothing).await
    }

    /// As `admit`, with what is known of its text.
    pub(super) async fn admit_about(
        &mut self,
        operation: &Operation,
        stage: Stage<'_>,
        about: About<'_>,
    ) -> Result<Permit, Refused> {
        self.operations = self.operations.saturating_add(1);
        let moment = if self.machine.idle() {
            Moment::Idle
        } else if self.machine.tx_state() == TxState::Transaction
            && self.machine.in_flight() == 0
            && !self.machine.unsynced()
        {
            Moment::InTransaction
        } else {
            Moment::InBatch
        };
        let target = Arc::clone(self.desk.target());
        let sketch = |plan, values| Sketch {
            core: &self.core,
            target: &target,
            database: &self.database,
            meaning: &self.meaning,
            planner: &self.planner,
            plan,
            values,
        };
        let (not_planned, sketch) = match about {
            About::Nothing => (None, None),
            About::NotPlanned(why) => (Some(why), None),
            About::Query(plan) => (None, Some(sketch(plan, Values::None))),
            About::Portal(plan, id) => {
                let bound = self.machine.portal(id).and_then(|portal| portal.bound.as_ref());
                (None, Some(sketch(plan, bound.map_or(Values::Gone, Values::Bound))))
            }
        };
        let mut company = Company {
            reader: &mut self.agent.reader,
            writer: &mut self.agent.writer,
            cancel: &self.cancel,
            not_planned,
            sketch,
        };
        let admitted = self.desk.admit(operation, stage, moment, &mut company).await;
        self.settle_cancelling().await;
        if let Err(Refused { refusal: Refusal::Pending { why: NotHeld::HoldOver, .. }, .. }) = &admitted
            && moment == Moment::InTransaction
        {
            // With a savepoint open, the poison would end only what is inside it, and the locks would stay.
            self.must_roll_back = true;
        }
        admitted
    }

    /// A text without a plan, through the gate all the same: the words that refuse it, or `None` to judge it again.
    pub(super) async fn refuse_text(&mut self, sql: &str, why: &NotPlanned) -> Result<Option<Words>, End> {
        let operation = self.with_context(|ctx| operation::opaque(ctx, sql, &why.reason));
        match self.admit_about(&operation, Stage::Run, About::NotPlanned(why)).await {
            Err(refused) if is_stale(&refused) => Ok(None),
            Err(refused) => Ok(Some(words_not_planned(&refused, why))),
            Ok(_) => Err(End::Caught("an internal check failed", "opaque operation permitted".into())),
        }
    }

    async fn query(&mut self, sql: String) -> Result<(), End> {
        for _ in 0..REPLANS {
            let judged = self.judge(&sql).await?;
            let plan = match &judged.plan {
                Ok(plan) => plan,
                Err(why) => match self.refuse_text(&sql, why).await? {
                    Some(words) => return self.refuse_query_with(words),
                    None => continue,
                },
            };
            if let Some(words) = self.forbidden_now(plan) {
                return self.refuse_query_with(words);
            }
            let frames = encoded(&Frontend::Query { sql: plan.text.clone() })?;
            let mut operation = self.with_context(|ctx| operation::planned(ctx, plan, &[], &frames));
            let reading = match self.reads_cursor(plan, &mut operation).await? {
                Ok(reading) => reading,
                Err(words) => return self.refuse_query_with(words),
            };
            match self.admit_about(&operation, Stage::Run, About::Query(plan)).await {
                Err(refused) if is_stale(&refused) => continue,
                Err(refused) => return self.refuse_query(&refused),
                Ok(permit) => {
                    let token = self.token();
                    if let Some(most) = permit.approval().and_then(Released::rollback_above) {
                        if !self.machine.idle() {
                            return self.refuse_query_with(not_alone());
                        }
                        Box::pin(self.begin_guard(token, most)).await?;
                    }
                    self.before_effect(plan);
                    self.meaning.sent(token, &plan.effect);
                    self.send(token, permit, &frames, &judged, None, operation)?;
                    self.count_together(token, reading);
                    return self
                        .machine
                        .sent(Expect::Query { token, copy: copy_of(&plan.effect) })
                        .map_err(End::Upstream);
                }
            }
        }
        self.refuse_query_with(changing())
    }

    pub(super) fn send(
        &mut self,
        token: Token,
        permit: Permit,
        frames: &[u8],
        judged: &Arc<Judged>,
        statement: Option<StatementId>,
        operation: Operation,
    ) -> Result<(), End> {
        let streams = matches!(&judged.plan, Ok(Plan { effect: Effect::CopyIn { .. }, .. }));
        let (obligations, running) = if streams {
            let (obligations, running, grant) =
                self.upstream.send_opening(permit, frames, COPY_IN_BYTES).map_err(not_decided)?;
            self.stream = Some((token, grant));
            (obligations, running)
        } else {
            self.upstream.send(permit, frames).map_err(not_decided)?
        };
        let captured = self.core.limits.recorded_body;
        let flight = Flight::sent(running, judged, statement, operation, obligations, captured);
        self.flights.insert(token, Box::new(flight));
        Ok(())
    }
}

pub(super) fn copy_of(effect: &Effect) -> Copy {
    match effect {
        Effect::CopyIn { .. } => Copy::In,
        Effect::CopyOut { .. } => Copy::Out,
        _ => Copy::No,
    }
}

/// What is compared with the number that was approved has a transaction of its own.
pub(super) fn not_alone() -> Words {
    let mut words = Words::new(
        "42501",
        "refused: a change that was approved for a number of rows is compared with it, and has to be alone in its batch",
    );
    words.hint = Some("Send Sync behind it before anything else.".to_owned());
    words
}

pub(super) fn is_stale(refused: &Refused) -> bool {
    matches!(refused.refusal, Refusal::Denied(DenyReason::Stale))
}

pub(super) fn changing() -> Words {
    Words::new("42501", "the access policy changed while the statement was judged: send it again")
}
