//! One replica leads: it alone writes what all of them share.
//!
//! The election is kube-lease-manager's, which says nothing while the API server is away. So that a leader that was cut
//! off does not go on beside its successor, the lease is read again before each piece of work: only while it is ours and
//! has not run out is anything done, and when it is another's the leader ends.

mod term;

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::certificate;
use crate::metrics::Metrics;

pub(crate) use self::term::Term;

/// How long the lease is good without being renewed, and how long before that it is renewed (seconds). Whoever does not
/// lead looks again when the lease that it saw has run out, given up or not: so this bounds how long nobody leads.
const LEASE: (u64, u64) = (10, 4);
/// Between two pieces of work.
const WORK: Duration = Duration::from_secs(15);
/// Between two tries to begin.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Election {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) lease: String,
    /// Of this replica.
    pub(crate) identity: String,
}

/// Another replica leads. This one ends: what it had begun may not go on.
#[derive(Debug, thiserror::Error)]
#[error("the lease `{lease}` was lost to `{holder}`")]
pub(crate) struct Lost {
    lease: String,
    holder: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Ours,
    /// Ours once, or nobody's: the election will tell.
    RunOut,
    Theirs(String),
}

// === impl Election ===

impl Election {
    /// Waits until this replica leads, then does the work again and again until it does no longer.
    pub(crate) async fn lead<F: Future<Output = ()>>(self, metrics: &Metrics, mut work: impl FnMut() -> F) -> Lost {
        let leads = loop {
            let (mut leads, _election) = self.manager().await.watch().await;
            if leads.wait_for(|leads| *leads).await.is_ok() {
                break leads;
            }
            tracing::warn!(event = "election_ended");
            sleep(AGAIN).await;
        };
        metrics.leads(true);
        tracing::info!(event = "leads", identity = self.identity);
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut turn = interval(WORK);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lost = loop {
            turn.tick().await;
            match leases.get(&self.lease).await {
                Ok(lease) => match standing(&lease, &self.identity, certificate::now()) {
                    Standing::Ours => work().await,
                    // An election that goes on renews it; one that ended never will.
                    Standing::RunOut if leads.has_changed().is_err() => break self.lost("nobody"),
                    Standing::RunOut => tracing::warn!(event = "lease_ran_out"),
                    Standing::Theirs(holder) => break self.lost(&holder),
                },
                Err(error) => tracing::warn!(event = "lease_not_read", %error),
            }
        };
        metrics.leads(false);
        lost
    }

    fn lost(&self, holder: &str) -> Lost {
        Lost { lease: self.lease.clone(), holder: holder.to_owned() }
    }

    /// An API server that is away is no reason to end: the webhook goes on.
    async fn manager(&self) -> LeaseManager {
        loop {
            let manager = LeaseManagerBuilder::new(self.client.clone(), &self.lease)
                .with_namespace(&self.namespace)
                .with_identity(&self.identity)
                .with_field_manager(format!("agentaccess-operator-{}", self.identity))
                .with_duration(LEASE.0)
                .with_grace(LEASE.1)
                .build()
                .await;
            match manager {
                Ok(manager) => return manager,
                Err(error) => tracing::warn!(event = "election_not_begun", %error),
            }
            sleep(AGAIN).await;
        }
    }
}

fn standing(lease: &Lease, identity: &str, now: u64) -> Standing {
    let spec = lease.spec.clone().unwrap_or_default();
    let ends = spec.renew_time.map(|time| time.0.as_second()).zip(spec.lease_duration_seconds);
    let ends = ends.and_then(|(renewed, seconds)| u64::try_from(renewed.saturating_add(i64::from(seconds))).ok());
    match spec.holder_identity {
        Some(holder) if holder != identity && !holder.is_empty() => Standing::Theirs(holder),
        Some(holder) if holder == identity && ends.is_some_and(|ends| now < ends) => Standing::Ours,
        _ => Standing::RunOut,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn of(spec: Value) -> Standing {
        standing(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap(), "a", NOW)
    }

    #[test]
    fn work_is_done_only_while_the_lease_is_ours_and_good() {
        // 1_800_000_000 is 2027-01-15T08:00:00Z.
        let lease = |holder: &str, renewed: &str| {
            of(json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}))
        };
        assert_eq!(lease("a", "2027-01-15T07:59:50.000000Z"), Standing::Ours);
        assert_eq!(lease("a", "2027-01-15T07:59:45.000000Z"), Standing::RunOut);
        assert_eq!(lease("b", "2027-01-15T07:59:50.000000Z"), Standing::Theirs("b".to_owned()));
        assert_eq!(lease("b", "2027-01-15T07:00:00.000000Z"), Standing::Theirs("b".to_owned()));
        assert_eq!(lease("", "2027-01-15T07:59:50.000000Z"), Standing::RunOut);
        assert_eq!(of(json!({})), Standing::RunOut);
        assert_eq!(of(json!({"holderIdentity": "a"})), Standing::RunOut);
        assert_eq!(of(json!({"holderIdentity": "a", "renewTime": "2027-01-15T07:59:50.000000Z"})), Standing::RunOut);
    }
}
