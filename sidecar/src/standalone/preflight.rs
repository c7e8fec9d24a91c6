//! Before the first port is bound: does each target let us in, and does it have what the policies name?
//!
//! The questions are operations of our own and pass the gate like all others. `run` records them; `check`, beside which
//! a sidecar may be running, keeps no record.

use std::sync::Arc;

use aws_lc_rs::hmac;
use pgsql::Catalog;
use policy::{PolicySet, TargetKey};
use recording::{SigningKey, Writer, WriterConfig};
use tokio::sync::watch;

use super::discard::Discard;
use crate::config::Listener;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::outside::{
    Answer, Approvals, Ask, AskError, MAX_POLICY_AGE, NotConsumed, PolicySnapshot, Target, Ticket, Used,
};
use crate::protocol::postgres::session::login::LoggedIn;
use crate::protocol::postgres::session::snapshot;
use crate::recorder::Recorder;

/// Relations and columns that policies of these listeners name and that no database of the target has, one line each.
pub(super) fn unknown_names(
    set: &PolicySet,
    listeners: &[Listener],
    target: &TargetKey,
    catalogs: &[&Catalog],
) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.target == *target) {
        let view = set.view(&listener.subject, target);
        let relations = view.named_relations().into_iter().map(|n| (n.id, format!("{}.{}", n.schema, n.relation)));
        let columns =
            view.named_columns().into_iter().map(|n| (n.id, format!("{}.{}.{}", n.schema, n.relation, n.column)));
        // Cluster policies are about many targets: what one of them does not have is no mistake.
        for (id, name) in relations.chain(columns).filter(|(id, _)| !id.cluster) {
            if let Some(what) = pgsql::names::missing(catalogs, &name) {
                lines.push(format!(
                    "policy {id} names the {what} `{name}`, which `{target}` does not have: correct or remove it"
                ));
            }
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

/// A gate whose record is thrown away, for `check`.
pub(super) struct Throwaway {
    gate: Arc<Gate>,
    key: hmac::Key,
    writer: Writer,
}

impl Throwaway {
    pub(super) fn new(set: &PolicySet, metrics: &Arc<Metrics>) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| format!("a scratch recording cannot be made: {error}");
        let signer = SigningKey::generate("agentaccess-check").map_err(|e| text(&e))?;
        let config = WriterConfig { free_floor: 0, ..WriterConfig::default() };
        let (writer, _) = Writer::open(config, Arc::new(Discard), signer, Box::new(|_| {})).map_err(|e| text(&e))?;
        let recorder = Recorder::new(writer.clone(), std::time::Duration::from_secs(5), Arc::clone(metrics));
        let (_, policies) = watch::channel(PolicySnapshot {
            set: Arc::new(set.clone()),
            confirmed: std::time::Instant::now(),
            max_age: MAX_POLICY_AGE,
        });
        let gate = Gate::new(recorder, Arc::new(NobodyToAsk), policies, Arc::clone(metrics));
        Ok(Self { gate, key: hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]), writer })
    }

    pub(super) async fn catalog(
        &self,
        logged_in: LoggedIn,
        target: &Arc<Target>,
        database: &str,
    ) -> Result<Catalog, String> {
        snapshot::read(&self.gate, &self.key, logged_in, target, database).await.map_err(|error| error.to_string())
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        let _ = self.writer.close();
    }
}

/// `check` asks nothing of people.
struct NobodyToAsk;

impl Approvals for NobodyToAsk {
    fn ask(&self, _: Ask) -> Answer<'_, Result<Ticket, AskError>> {
        Box::pin(async { Err(AskError::Away) })
    }

    fn knows(&self, _: &Ask) -> bool {
        false
    }

    fn withdraw(&self, _: &str) -> Answer<'_, ()> {
        Box::pin(async {})
    }

    fn consume(&self, _: &Ticket, _: &Ask) -> Answer<'_, Result<Used, NotConsumed>> {
        Box::pin(async { Err(NotConsumed("nobody was asked")) })
    }
}
