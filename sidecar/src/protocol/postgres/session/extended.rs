//! Messages of the extended protocol: Parse, Bind and Execute, and what is kept back until the Execute is permitted.
//!
//! Invariants: a statement or portal that was made under another policy or catalog runs only if it still means the same
//! text at the target; a Bind and its Execute go out as one unit, so that a refusal leaves no portal behind.

use std::sync::Arc;

use pgcodec::frontend::{Bind, Execute, Parse};
use pgcodec::machine::{Copy, PortalId, StatementId};
use pgcodec::{Control, Expect, Frontend};
use pgsql::plan::Effect;

use super::super::operation;
use super::super::refusal::{Words, words};
use super::super::statement::{Bound, Judged, Portal, Prepared, Source};
use super::cursor::Reading;
use super::flight::Token;
use super::inbound::{About, REPLANS, changing, copy_of, is_stale, not_alone};
use super::unit::{Kept, MOST_KEPT};
use super::{End, Session, encoded};
use crate::gate::{Released, Stage};

impl Session {
    pub(super) async fn prepare(&mut self, id: StatementId, message: Parse) -> Result<(), End> {
        let types = pgsql::check_types(&message.param_types);
        for _ in 0..REPLANS {
            let judged = self.judge(&message.sql).await?;
            let plan = match (&types, &judged.plan) {
                (Ok(()), Ok(plan)) => plan,
                (Err(why), _) | (Ok(()), Err(why)) => match self.refuse_text(&message.sql, why).await? {
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
                    let prepared = Prepared {
                        judged: Arc::clone(&judged),
                        parameter_types: message.param_types,
                        checked: false,
                        meaning: Arc::clone(self.meaning.current()),
                    };
                    self.machine.attach_statement(id, prepared);
                    self.keep(Kept::Parse { id, permit: Box::new(permit), frames });
                    return self.bound_kept().await;
                }
            }
        }
        self.release_then_refuse(changing()).await
    }

    pub(super) async fn bind(&mut self, id: PortalId, statement: StatementId, message: Bind) -> Result<(), End> {
        if self.is_cursor(&message.portal) {
            let mut words = Words::new("42P03", format!("cursor {:?} already exists", message.portal));
            words.hint = Some("Give the portal another name, or end the transaction.".to_owned());
            return self.release_then_refuse(words).await;
        }
        let judged = match self.current_statement(statement).await? {
            Ok(judged) => judged,
            Err(words) => return self.release_then_refuse(words).await,
        };
        let types = self.machine.statement(statement).map(|p| p.parameter_types.clone()).unwrap_or_default();
        let Ok(plan) = &judged.plan else {
            return self.release_then_refuse(prepare_again()).await;
        };
        let limits = self.planner.loaded().catalog.time_limits;
        for checked in &plan.checked_params {
            let index = usize::try_from(checked.number).unwrap_or(0).checked_sub(1);
            let value = index.and_then(|i| message.params.get(i)).and_then(Option::as_ref);
            let text = value.and_then(|v| std::str::from_utf8(v).ok());
            let allowed =
                text.is_some_and(|text| pgsql::settings::check_value(&checked.setting, text, &limits).is_ok());
            if !allowed {
                let words =
                    Words::new("42501", format!("the setting {:?} may not be changed to this value", checked.setting));
                return self.release_then_refuse(words).await;
            }
        }
        let bound = Bound::new(types, &message);
        let meaning = self.parsed_under(statement);
        let operation = self.with_meaning(&meaning, |ctx| operation::planned(ctx, plan, &bound.parameters(), &[]));
        let frames = encoded(&Frontend::Bind(message))?;
        let portal = Portal {
            judged: Arc::clone(&judged),
            statement,
            operation,
            bound: bound.kept(),
            meaning: Arc::clone(self.meaning.current()),
            whole_meaning: meaning,
            described: false,
            columns: None,
            rows: 0,
            fetched: None,
            released: None,
        };
        self.machine.attach_portal(id, portal);
        self.keep(Kept::Bind { id, frames });
        self.bound_kept().await
    }

    /// The statement as it is judged now.
    async fn current_statement(&mut self, id: StatementId) -> Result<Result<Arc<Judged>, Words>, End> {
        let Some(then) = self.machine.statement(id).map(|prepared| Arc::clone(&prepared.judged)) else {
            return Ok(Err(Words::new("26000", "prepared statement does not exist")));
        };
        let Some(now) = self.still_means(&then).await? else { return Ok(Err(prepare_again())) };
        if let Some(prepared) = self.machine.statement_mut(id).filter(|_| !Arc::ptr_eq(&now, &then)) {
            prepared.judged = Arc::clone(&now);
            prepared.checked = false;
        }
        Ok(Ok(now))
    }

    pub(super) async fn execute(&mut self, portal_id: PortalId, message: &Execute) -> Result<(), End> {
        let Some(portal) = self.machine.portal(portal_id) else {
            return self.release_then_refuse(Words::new("34000", "portal does not exist")).await;
        };
        let (statement, described) = (portal.statement, portal.described);
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
        let (Ok(plan), Some(portal)) = (&judged.plan, self.machine.portal(portal_id)) else {
            return self.release_then_refuse(prepare_again()).await;
        };
        let mut operation = portal.operation.clone();
        let (released, fetched) = (portal.released.clone(), portal.fetched);
        if let Some(words) = self.forbidden_now(plan) {
            return self.release_then_refuse(words).await;
        }
        let reading = match self.reads_cursor(plan, &mut operation).await? {
            // The server has run the FETCH and kept its rows: what else has the cursor's name now is not what they are.
            Ok(reading) if fetched.is_some() && reading.as_ref().map(Reading::cursor) != Some(fetched) => {
                return self.release_then_refuse(Words::new("34000", "the cursor of this portal is gone")).await;
            }
            Ok(reading) => reading.unwrap_or(Reading { source: Source::Portal(portal_id), cursor: None }),
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
        let unchecked = !plan.masked.is_empty() && !checked;
        let describe = match unchecked || (self.planner.net().is_some() && !described) {
            true => self.machine.describe_portal(portal_id),
            false => None,
        };
        if let Some(describe) = &describe {
            describe.encode(&mut frames);
        }
        frames.extend_from_slice(&encoded(&Frontend::Execute(message.clone()))?);
        operation.payload = crate::upstream::payload_hash(&frames);
        operation.planned = judged.planned;
        let stage = released.as_ref().map_or(Stage::Run, Stage::Continue);
        match self.admit_about(&operation, stage, About::Portal(plan, portal_id)).await {
            Err(refused) => {
                let words = if is_stale(&refused) { changing() } else { words(&refused) };
                self.release_then_refuse(words).await
            }
            Ok(permit) => {
                let token = self.token();
                if let Some(most) = permit.approval().and_then(Released::rollback_above) {
                    if !self.machine.idle() {
                        return self.release_then_refuse(not_alone()).await;
                    }
                    Box::pin(self.begin_guard(token, most)).await?;
                }
                if !self.release().await? {
                    return Ok(());
                }
                self.before_effect(plan);
                self.batch_committed |= matches!(plan.effect, Effect::Commit | Effect::Rollback);
                if let Some(portal) = self.machine.portal_mut(portal_id) {
                    portal.released = permit.approval().cloned();
                    portal.fetched = reading.cursor();
                }
                self.meaning.sent(token, &plan.effect);
                self.send(token, permit, &frames, &judged, Some(statement), operation)?;
                self.count_together(token, Some(reading));
                self.expect_columns(token, portal_id);
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

    /// The settings that give a prepared text its meaning: those of its Parse, and those of now.
    fn parsed_under(&self, statement: StatementId) -> Arc<str> {
        match self.machine.statement(statement) {
            Some(prepared) => self.meaning.since(&prepared.meaning),
            None => Arc::clone(self.meaning.current()),
        }
    }

    /// What a portal executes, as it is judged now: policy or catalog may give the same text another ceiling, other
    /// accesses and other words to show.
    async fn current_portal(&mut self, id: PortalId) -> Result<Result<Arc<Judged>, Words>, End> {
        let Some(portal) = self.machine.portal(id) else {
            return Ok(Err(Words::new("34000", "portal does not exist")));
        };
        let (then, meaning) = (Arc::clone(&portal.judged), Arc::clone(&portal.meaning));
        if *meaning != **self.meaning.current() {
            return Ok(Err(bind_again("settings such as DateStyle changed since the portal was bound")));
        }
        let Some(now) = self.still_means(&then).await? else { return Ok(Err(prepare_again())) };
        if Arc::ptr_eq(&now, &then) {
            return Ok(Ok(now));
        }
        let Ok(plan) = &now.plan else { return Ok(Err(prepare_again())) };
        let Some(portal) = self.machine.portal_mut(id) else { return Ok(Err(prepare_again())) };
        let meaning = Arc::clone(&portal.whole_meaning);
        let Some(bound) = portal.bound.take() else {
            return Ok(Err(bind_again("the access policy or the tables changed since the portal was bound")));
        };
        let operation = self.with_meaning(&meaning, |ctx| operation::planned(ctx, plan, &bound.parameters(), &[]));
        if let Some(portal) = self.machine.portal_mut(id) {
            portal.judged = Arc::clone(&now);
            portal.operation = operation;
            portal.bound = Some(bound);
        }
        Ok(Ok(now))
    }

    pub(super) async fn release_then_refuse(&mut self, words: Words) -> Result<(), End> {
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
}

fn bind_again(why: &str) -> Words {
    let mut words = Words::new("34000", why);
    words.hint = Some("Bind it again.".to_owned());
    words
}

fn prepare_again() -> Words {
    let mut words = Words::new("26000", "the statement was prepared under an access policy that is no longer in force");
    words.hint = Some("Prepare it again.".to_owned());
    words
}
