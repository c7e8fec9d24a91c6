//! The agent's messages, in order: each becomes an operation that is admitted and sent, or refused with a poison.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pgcodec::frontend::{Bind, Execute, Parse};
use pgcodec::machine::{Copy, PortalId, StatementId};
use pgcodec::{Candidate, Control, Expect, Format, Frontend, Step, TxState};
use pgsql::Refused as NotPlanned;
use pgsql::plan::{Effect, Plan};
use policy::operation::{Operation, Strictness};
use policy::verdict::DenyReason;

use super::super::operation;
use super::super::parameter::Parameter;
use super::super::refusal::{Words, words, words_not_planned};
use super::super::statement::{Judged, Portal, Prepared, Source};
use super::company::Company;
use super::flight::{Flight, Token};
use super::unit::{Kept, MOST_KEPT, not_decided};
use super::{End, Session, agent, catalog_not_read, encoded};
use crate::gate::{Moment, NotHeld, Permit, Refusal, Refused, Stage};
use crate::upstream::HIGH_WATER;

/// How often a statement is planned again because the policy changed in between.
const REPLANS: usize = 3;
/// A COPY FROM STDIN longer than this is ended.
const COPY_IN_BYTES: u64 = 1 << 30;
/// How long the next operation waits for a cancel request that is under way.
const MOST_CANCELLING: Duration = Duration::from_secs(2);
/// Cursors that one session may declare.
const CURSORS: usize = 256;

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
        );
        begins && self.machine.in_flight() > 0 && !self.machine.unsynced() && !self.machine.copying_in()
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
            }
            return self.control(&control);
        }
        self.keep(Kept::Control(control));
        Ok(())
    }

    async fn take_candidate(&mut self, candidate: Candidate) -> Result<(), End> {
        match candidate {
            Candidate::Query { sql } => {
                // If something kept back was refused, the server skips to Sync, and so does the machine with this text.
                if self.release().await? { self.query(sql).await } else { Ok(()) }
            }
            Candidate::Prepare { id, message } => self.prepare(id, message).await,
            Candidate::Bind { id, statement, message } => self.bind(id, statement, message).await,
            Candidate::Execute { portal, message } => self.execute(portal, &message).await,
            Candidate::CopyData(data) => self.copy_data(&data),
            Candidate::CopyDone => self.copy_end(&Frontend::CopyDone),
            Candidate::CopyFail { .. } => {
                // The agent's own words for why are not needed upstream.
                self.copy_end(&Frontend::CopyFail { message: "canceled by the client".to_owned() })
            }
        }
    }

    /// Judges a text on the policy and catalog of this moment; looks again once if a name may be new.
    async fn judge(&mut self, sql: &str) -> Result<Arc<Judged>, End> {
        self.refresh().await?;
        let judged = self.planner.judge(sql.to_owned()).await;
        if !self.planner.is_recent_for(&judged) {
            let loaded = self.catalog.recent(&self.core).await.map_err(catalog_not_read)?;
            self.planner.follow(loaded, self.desk.view());
            return Ok(self.planner.judge(sql.to_owned()).await);
        }
        if judged.plan.is_ok() {
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

    /// Through the gate, keeping the agent company while it waits.
    pub(super) async fn admit(&mut self, operation: &Operation, stage: Stage<'_>) -> Result<Permit, Refused> {
        self.admit_about(operation, stage, None).await
    }

    /// As `admit`, for a text of which there may be no plan.
    async fn admit_about(
        &mut self,
        operation: &Operation,
        stage: Stage<'_>,
        not_planned: Option<&NotPlanned>,
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
        let mut company = Company {
            reader: &mut self.agent.reader,
            writer: &mut self.agent.writer,
            cancel: &self.cancel,
            not_planned,
        };
        let admitted = self.desk.admit(operation, stage, moment, &mut company).await;
        if let Some(cancelling) = self.cancelling.take() {
            // The target closes the connection of a cancel request when the signal is on its way.
            let _ = tokio::time::timeout(MOST_CANCELLING, cancelling).await;
        }
        if let Err(Refused { refusal: Refusal::Pending { why: NotHeld::HoldOver, .. }, .. }) = &admitted
            && moment == Moment::InTransaction
        {
            // With a savepoint open, the poison would end only what is inside it, and the locks would stay.
            self.must_roll_back = true;
        }
        admitted
    }

    /// A text without a plan, through the gate all the same: the words that refuse it, or `None` to judge it again.
    async fn refuse_text(&mut self, sql: &str, why: &NotPlanned) -> Result<Option<Words>, End> {
        let operation = self.with_context(|ctx| operation::opaque(ctx, sql, &why.reason));
        match self.admit_about(&operation, Stage::Run, Some(why)).await {
            Err(refused) if is_stale(&refused) => Ok(None),
            Err(refused) => Ok(Some(words_not_planned(&refused, why))),
            Ok(_) => Err(End::Caught("an internal check failed", "opaque operation permitted".into())),
        }
    }

    // === the simple protocol ===

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
            match self.admit(&operation, Stage::Run).await {
                Err(refused) if is_stale(&refused) => continue,
                Err(refused) => return self.refuse_query(&refused),
                Ok(permit) => {
                    self.before_effect(&plan.effect);
                    let token = self.token();
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

    // === the extended protocol ===

    async fn prepare(&mut self, id: StatementId, message: Parse) -> Result<(), End> {
        for _ in 0..REPLANS {
            let judged = self.judge(&message.sql).await?;
            let plan = match &judged.plan {
                Ok(plan) => plan,
                Err(why) => match self.refuse_text(&message.sql, why).await? {
                    Some(words) => return self.release_then_refuse(words).await,
                    None => continue,
                },
            };
            let parse =
                Parse { name: message.name.clone(), sql: plan.text.clone(), param_types: message.param_types.clone() };
            let frames = encoded(&Frontend::Parse(parse))?;
            let mut operation = self.with_context(|ctx| operation::planned(ctx, plan, &[], &frames));
            operation.action = format!("PREPARE {}", operation.action);
            match self.admit(&operation, Stage::Prepare).await {
                Err(refused) if is_stale(&refused) => continue,
                Err(refused) => return self.release_then_refuse(words(&refused)).await,
                Ok(permit) => {
                    let prepared =
                        Prepared { judged: Arc::clone(&judged), parameter_types: message.param_types, checked: false };
                    self.machine.attach_statement(id, prepared);
                    self.keep(Kept::Parse { id, permit, frames });
                    return self.bound_kept().await;
                }
            }
        }
        self.release_then_refuse(changing()).await
    }

    async fn bind(&mut self, id: PortalId, statement: StatementId, message: Bind) -> Result<(), End> {
        let judged = match self.current_statement(statement).await? {
            Ok(judged) => judged,
            Err(words) => return self.release_then_refuse(words).await,
        };
        let types = self.machine.statement(statement).map(|p| p.parameter_types.clone()).unwrap_or_default();
        let Ok(plan) = &judged.plan else {
            return self.release_then_refuse(prepare_again()).await;
        };
        for checked in &plan.checked_params {
            let index = usize::try_from(checked.number).unwrap_or(0).checked_sub(1);
            let value = index.and_then(|i| message.params.get(i)).and_then(Option::as_ref);
            let text = value.and_then(|v| std::str::from_utf8(v).ok());
            let allowed = text.is_some_and(|text| pgsql::settings::check_value(&checked.setting, text).is_ok());
            if !allowed {
                let words =
                    Words::new("42501", format!("the setting {:?} may not be changed to this value", checked.setting));
                return self.release_then_refuse(words).await;
            }
        }
        let parameters: Vec<Parameter<'_>> = message
            .params
            .iter()
            .enumerate()
            .map(|(index, value)| Parameter {
                type_oid: types.get(index).copied().unwrap_or(0),
                binary: match message.formats.as_slice() {
                    [] => false,
                    [one] => *one == Format::Binary,
                    many => many.get(index) == Some(&Format::Binary),
                },
                value: value.as_deref(),
            })
            .collect();
        let operation = self.with_context(|ctx| operation::planned(ctx, plan, &parameters, &[]));
        let frames = encoded(&Frontend::Bind(message.clone()))?;
        self.machine.attach_portal(
            id,
            Portal { judged: Arc::clone(&judged), statement, operation, described: false, rows: 0, released: None },
        );
        self.keep(Kept::Bind { id, frames });
        self.bound_kept().await
    }

    /// The statement as it is judged now. What was prepared under another policy has to mean the same text still.
    async fn current_statement(&mut self, id: StatementId) -> Result<Result<Arc<Judged>, Words>, End> {
        let Some(prepared) = self.machine.statement(id) else {
            return Ok(Err(Words::new("26000", "prepared statement does not exist")));
        };
        let judged = Arc::clone(&prepared.judged);
        self.refresh().await?;
        if self.planner.is_current(&judged) {
            return Ok(Ok(judged));
        }
        let again = self.judge(&judged.sql).await?;
        let same = match (&again.plan, &judged.plan) {
            (Ok(now), Ok(then)) => now.text == then.text,
            _ => false,
        };
        if !same {
            return Ok(Err(prepare_again()));
        }
        if let Some(prepared) = self.machine.statement_mut(id) {
            prepared.judged = Arc::clone(&again);
            prepared.checked = false;
        }
        Ok(Ok(again))
    }

    async fn execute(&mut self, portal_id: PortalId, message: &Execute) -> Result<(), End> {
        let Some(portal) = self.machine.portal(portal_id) else {
            return self.release_then_refuse(Words::new("34000", "portal does not exist")).await;
        };
        let (statement, described) = (portal.statement, portal.described);
        let mut operation = portal.operation.clone();
        // The Bind and what describes it go out with the Execute as one unit; what is before them goes out first. A
        // refusal drops the unit.
        let unit_at = self
            .kept
            .iter()
            .rposition(|kept| kept.is_bind_of(portal_id))
            .filter(|at| self.kept.iter().skip(at.saturating_add(1)).all(|kept| matches!(kept, Kept::Control(_))));
        let unit = unit_at.map(|at| self.kept.split_off(at)).unwrap_or_default();
        let judged = match self.current_portal(portal_id).await? {
            Ok(judged) => judged,
            Err(words) => return self.release_then_refuse(words).await,
        };
        let Ok(plan) = &judged.plan else { return self.release_then_refuse(prepare_again()).await };
        if let Some(words) = self.forbidden_now(plan) {
            return self.release_then_refuse(words).await;
        }
        let reading = match self.reads_cursor(plan, &mut operation).await? {
            Ok(reading) => reading.or(Some(Reading { source: Source::Portal(portal_id), judged: None })),
            Err(words) => return self.release_then_refuse(words).await,
        };
        let mut frames = bytes::BytesMut::new();
        for kept in &unit {
            match kept {
                Kept::Bind { frames: bind, .. } => frames.extend_from_slice(bind),
                Kept::Control(control) => control.encode(&mut frames),
                Kept::Parse { .. } => {}
            }
        }
        let checked = described || self.machine.statement(statement).is_some_and(|prepared| prepared.checked);
        let describe = if plan.masked.is_empty() || checked { None } else { self.machine.describe_portal(portal_id) };
        if let Some(describe) = &describe {
            describe.encode(&mut frames);
        }
        frames.extend_from_slice(&encoded(&Frontend::Execute(message.clone()))?);
        operation.payload = crate::upstream::payload_hash(&frames);
        operation.planned = judged.planned;
        let released = self.machine.portal(portal_id).and_then(|portal| portal.released.clone());
        let stage = released.as_ref().map_or(Stage::Run, Stage::Continue);
        match self.admit(&operation, stage).await {
            Err(refused) => {
                let words = if is_stale(&refused) { changing() } else { words(&refused) };
                self.release_then_refuse(words).await
            }
            Ok(permit) => {
                if !self.release().await? {
                    return Ok(());
                }
                self.before_effect(&plan.effect);
                self.batch_committed |= matches!(plan.effect, Effect::Commit | Effect::Rollback);
                if let Some(portal) = self.machine.portal_mut(portal_id) {
                    portal.released = permit.approval().cloned();
                }
                let token = self.token();
                self.send(token, permit, &frames, &judged, Some(statement), operation)?;
                self.count_together(token, reading);
                self.announce(token, portal_id, &unit, describe.as_ref(), copy_of(&plan.effect))
            }
        }
    }

    /// Tells the machine what a unit consisted of, in order.
    fn announce(
        &mut self,
        token: Token,
        portal: PortalId,
        unit: &[Kept],
        describe: Option<&Control>,
        copy: Copy,
    ) -> Result<(), End> {
        for kept in unit {
            match kept {
                Kept::Bind { id, .. } => self.machine.sent(Expect::Bind { token: None, id: *id }),
                Kept::Control(control) => self.machine.sent(Expect::Control(control)),
                Kept::Parse { .. } => Ok(()),
            }
            .map_err(End::Upstream)?;
        }
        if let Some(describe) = describe {
            self.machine.sent(Expect::Control(describe)).map_err(End::Upstream)?;
        }
        self.machine.sent(Expect::Execute { token, portal, copy }).map_err(End::Upstream)?;
        if copy == Copy::In {
            // Whether the COPY begins decides what the agent's next messages mean.
            let flush = self.machine.flush();
            self.control(&flush)?;
        }
        Ok(())
    }

    /// What a portal executes, judged on the policy of this moment.
    async fn current_portal(&mut self, id: PortalId) -> Result<Result<Arc<Judged>, Words>, End> {
        let Some(portal) = self.machine.portal(id) else {
            return Ok(Err(Words::new("34000", "portal does not exist")));
        };
        let judged = Arc::clone(&portal.judged);
        self.refresh().await?;
        if self.planner.is_current(&judged) {
            return Ok(Ok(judged));
        }
        let again = self.judge(&judged.sql).await?;
        let same = match (&again.plan, &judged.plan) {
            (Ok(now), Ok(then)) => now.text == then.text,
            _ => false,
        };
        if !same {
            return Ok(Err(prepare_again()));
        }
        if let (Some(portal), Ok(plan)) = (self.machine.portal_mut(id), &again.plan) {
            portal.judged = Arc::clone(&again);
            portal.operation.accesses = plan.accesses.clone();
            portal.operation.planned = again.planned;
        }
        Ok(Ok(again))
    }

    async fn release_then_refuse(&mut self, words: Words) -> Result<(), End> {
        if self.release().await? {
            self.refuse_extended_with(words)?;
        }
        Ok(())
    }

    /// What is kept back stays bounded.
    async fn bound_kept(&mut self) -> Result<(), End> {
        if self.kept_bytes > MOST_KEPT {
            self.release().await?;
        }
        Ok(())
    }

    // === sending ===

    fn send(
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
        self.flights.insert(token, Flight::sent(running, judged, statement, operation, obligations, captured));
        Ok(())
    }

    fn copy_data(&mut self, data: &Bytes) -> Result<(), End> {
        let frame = encoded(&Frontend::CopyData(data.clone()))?;
        let Some((token, grant)) = &mut self.stream else {
            return Err(End::Caught("an internal check failed", "copy data without a stream".into()));
        };
        if self.upstream.stream(grant, &frame, data).is_ok() {
            return Ok(());
        }
        if let Some(flight) = self.flights.get_mut(token) {
            flight.refused = Some(Words::new("54000", format!("COPY FROM STDIN is longer than {COPY_IN_BYTES} bytes")));
        }
        match self.machine.copy_fail() {
            Some(control) => self.control(&control),
            None => Err(End::Caught("an internal check failed", "copy data outside a copy".into())),
        }
    }

    fn copy_end(&mut self, message: &Frontend) -> Result<(), End> {
        let frame = encoded(message)?;
        let Some((token, mut grant)) = self.stream.take() else {
            return Err(End::Caught("an internal check failed", "end of a copy without a stream".into()));
        };
        // The end of the stream has no content, so no cap can refuse it.
        let ended = self.upstream.stream(&mut grant, &frame, &[]);
        if let Some(flight) = self.flights.get_mut(&token) {
            flight.stream_digest = Some(grant.digest());
        }
        ended.map_err(|over| End::Caught("an internal check failed", over.to_string()))?;
        self.machine.sent(Expect::CopyEnd).map_err(End::Upstream)
    }

    // === what the session itself has to know ===

    /// What cannot be sent in this state of the session, whatever policy says.
    fn forbidden_now(&self, plan: &Plan) -> Option<Words> {
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
        match &plan.effect {
            Effect::FetchCursor { name } if self.declaring(name) => {
                let mut words = Words::new("55000", format!("cursor {name:?} is being declared"));
                words.hint = Some("Wait for the answer to DECLARE before FETCH.".to_owned());
                Some(words)
            }
            Effect::FetchCursor { name } if !self.cursors.contains_key(name) => {
                Some(Words::new("34000", format!("cursor {name:?} does not exist")))
            }
            Effect::DeclareCursor { name } if !self.cursors.contains_key(name) && self.cursors.len() >= CURSORS => {
                Some(Words::new("54000", format!("more than {CURSORS} cursors: close some")))
            }
            _ => None,
        }
    }

    /// A FETCH reads what its cursor's query reads: it is decided on that, on the policy of this moment.
    async fn reads_cursor(
        &mut self,
        plan: &Plan,
        operation: &mut Operation,
    ) -> Result<Result<Option<Reading>, Words>, End> {
        let Effect::FetchCursor { name } = &plan.effect else { return Ok(Ok(None)) };
        let Some(cursor) = self.cursors.get(name) else { return Ok(Ok(None)) };
        let declared = Arc::clone(&cursor.judged);
        let judged =
            if self.planner.is_current(&declared) { Arc::clone(&declared) } else { self.judge(&declared.sql).await? };
        let (Ok(now), Ok(then)) = (&judged.plan, &declared.plan) else { return Ok(Err(declare_again())) };
        if now.text != then.text {
            return Ok(Err(declare_again()));
        }
        operation.accesses.extend(now.accesses.iter().cloned());
        operation.ceiling = operation.ceiling.max(now.ceiling);
        let source = Source::Cursor(name.clone());
        Ok(Ok(Some(Reading { source, judged: Some(judged) })))
    }

    /// Rows of one portal or cursor count together, and its result is guarded as its query says.
    fn count_together(&mut self, token: Token, reading: Option<Reading>) {
        let (Some(flight), Some(reading)) = (self.flights.get_mut(&token), reading) else { return };
        flight.source = Some(reading.source);
        if let Some(judged) = reading.judged {
            flight.judged = Some(judged);
        }
    }

    /// A DECLARE of this name was sent and is not answered.
    fn declaring(&self, name: &str) -> bool {
        self.flights.values().any(|flight| {
            let judged = flight.judged.as_ref().filter(|_| flight.operation.is_some() && !flight.settling);
            judged.and_then(|judged| judged.plan.as_ref().ok()).is_some_and(
                |plan| matches!(&plan.effect, Effect::DeclareCursor { name: declared } if declared == name),
            )
        })
    }

    /// Names and flags that change when this is sent.
    fn before_effect(&mut self, effect: &Effect) {
        match effect {
            // The cursor is what it reads only when the target says so: an old one of this name may stay.
            Effect::DeclareCursor { name } => self.machine.forget_portal(name),
            Effect::CloseCursor { name: Some(name) } => self.machine.forget_portal(name),
            Effect::CloseCursor { name: None } => self.machine.forget_all_portals(),
            Effect::Deallocate { name: Some(name) } => self.machine.forget_statement(name),
            Effect::Deallocate { name: None } => self.machine.forget_all_statements(),
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
            | Effect::RollbackTo { .. }
            | Effect::Set { .. }
            | Effect::FetchCursor { .. }
            | Effect::CopyOut
            | Effect::CopyIn { .. }
            | Effect::ChangesCatalog
            | Effect::Unlisten { .. }
            | Effect::Notify { .. } => {}
        }
    }
}

fn copy_of(effect: &Effect) -> Copy {
    match effect {
        Effect::CopyIn { .. } => Copy::In,
        Effect::CopyOut => Copy::Out,
        _ => Copy::No,
    }
}

/// Where an operation continues to read.
struct Reading {
    source: Source,
    /// Of a cursor: what its query may show.
    judged: Option<Arc<Judged>>,
}

fn declare_again() -> Words {
    let mut words = Words::new("34000", "the cursor was declared under an access policy that is no longer in force");
    words.hint = Some("Declare it again.".to_owned());
    words
}

fn is_stale(refused: &Refused) -> bool {
    matches!(refused.refusal, Refusal::Denied(DenyReason::Stale))
}

fn changing() -> Words {
    Words::new("42501", "the access policy changed while the statement was judged: send it again")
}

fn prepare_again() -> Words {
    let mut words = Words::new("26000", "the statement was prepared under an access policy that is no longer in force");
    words.hint = Some("Prepare it again.".to_owned());
    words
}
