//! A cancel request for what runs upstream: an operation of our own, on a connection of its own, with the target's real key.
//!
//! PostgreSQL never answers one, so an agent that sent it waits for its statement to end: a request that could not be
//! recorded, or did not find the target, is made again. Invariant: none is begun once something else goes upstream, which it
//! would hit.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pgcodec::backend::KeyData;
use pgcodec::startup as wire;
use recording::entry::Status;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::operation::{self, Transaction};
use super::login::{self, LoginError};
use super::silent::Silent;
use crate::core::Core;
use crate::gate::{Moment, Outcome, Stage};
use crate::outside::Target;
use crate::upstream::CancelError;

/// Before each further attempt.
const PAUSES: [Duration; 7] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// How long what comes next waits for an attempt that is under way.
const MOST: Duration = Duration::from_secs(2);

/// A request that is under way, or will be made again. Dropping it lets it go on.
#[derive(Debug)]
pub(super) struct Cancelling {
    task: JoinHandle<()>,
    enough: Arc<Notify>,
}

impl Cancelling {
    /// `before`: one that was asked for earlier; it makes no further attempt, and this one begins when it has ended.
    pub(super) fn begin(
        before: Option<Self>,
        core: Arc<Core>,
        target: Arc<Target>,
        database: String,
        key: KeyData,
    ) -> Self {
        let enough = Arc::new(Notify::new());
        let told = Arc::clone(&enough);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.settled().await;
            }
            let mut pauses = PAUSES.into_iter();
            while let Err(error) = attempt(&core, &target, &database, &key).await {
                tracing::warn!(target: "agentaccess", %error, access_target = %target.key, "cancel request not delivered");
                let Some(pause) = pauses.next() else { return };
                if timeout(pause, told.notified()).await.is_ok() {
                    return;
                }
            }
        });
        Self { task, enough }
    }

    /// No further attempt. The target closes the connection of a request when the signal is on its way, so this returns
    /// when what is sent next is not hit, or after a while in which nobody knows.
    pub(super) async fn settled(mut self) {
        self.enough.notify_one();
        if timeout(MOST, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum CancelFailed {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Credential(#[from] crate::outside::CredentialError),
    #[error(transparent)]
    Cancel(#[from] CancelError),
    #[error("it could not be recorded")]
    Unrecorded,
    #[error("{0}")]
    Wire(#[from] pgcodec::Violation),
}

async fn attempt(core: &Arc<Core>, target: &Arc<Target>, database: &str, key: &KeyData) -> Result<(), CancelFailed> {
    let mut frame = BytesMut::new();
    wire::cancel_request(key, &mut frame)?;
    let mut desk = core.gate.internal_desk(target);
    let (subject, planned) = (Arc::clone(desk.subject()), desk.revision());
    let op = operation::internal(
        &operation::Context {
            key: &core.digest_key,
            subject: &subject,
            target,
            database,
            role: "",
            catalog: "",
            planned,
            transaction: Transaction::Idle,
            meaning: "",
        },
        "cancel request",
        &frame,
    );
    let anchor = core.credentials.trust_anchor(&target.key)?;
    let greeting = login::greet(target, anchor.as_deref(), core.limits.upstream_connect).await?;
    let permit =
        desk.admit(&op, Stage::Run, Moment::InBatch, &mut Silent).await.map_err(|_| CancelFailed::Unrecorded)?;
    let running = greeting.cancel(permit, &frame).await?;
    running.finish(&Outcome::of(Status::Ok));
    Ok(())
}
