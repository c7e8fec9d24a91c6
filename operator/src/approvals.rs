//! Approvals by annotation: a sidecar asks, people decide with `kubectl annotate`, the sidecar uses the approval up.
//!
//! A vote is a record that the admission webhook signs with the key of the installation and stores as an annotation of
//! the ApprovalRequest. Invariant: nothing but signed records of this request is counted, by whoever counts. Every
//! replica counts for itself, from what the API server stores; `status` is for people, and nothing in it approves. What
//! is in it can only close a request: withdrawn, used, ended.

mod again;
pub mod asker;
mod book;
mod clerk;
mod cover;
mod desk;
mod grant;
pub mod key;
mod life;
mod limit;
mod notify;
mod question;
mod request;
mod review;
pub mod reviewer;
mod stamp;
mod tally;
mod trace;
mod watching;

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use otel::Telemetry;

pub use self::asker::Asker;
pub use self::book::Book;
pub use self::clerk::Clerk;
pub use self::desk::Desk;
use self::key::Store;
use self::notify::Notifier;
use self::reviewer::Reviewer;
pub use self::watching::watch;
use crate::config::Config;
use crate::index::Index;
use crate::metrics::Metrics;

/// All of it, for one replica.
#[derive(Debug)]
pub struct Approvals {
    pub reviewer: Reviewer,
    /// What the gRPC server calls.
    pub desk: Arc<Desk>,
    clerk: Arc<Clerk>,
    notifier: Option<Arc<Notifier>>,
    book: Arc<Book>,
    key: Store,
}

// === impl Approvals ===

impl Approvals {
    /// `index` knows which pods live.
    pub fn new(
        client: &Client,
        config: &Config,
        metrics: &Arc<Metrics>,
        index: Option<Arc<Index>>,
        telemetry: Telemetry,
    ) -> Self {
        let key = Store::new(client.clone(), &config.namespace, &config.approval_key_secret);
        let book = Arc::new(Book::new(key.held(), Arc::clone(metrics), index));
        let clerk = Clerk::new(client.clone(), Arc::clone(&book), Arc::clone(metrics), &config.identity, telemetry);
        let notifier = config.notify.as_deref().map(|folder| {
            let (book, metrics) = (Arc::clone(&book), Arc::clone(metrics));
            let http = config.notify_allow_http;
            Arc::new(Notifier::new(client.clone(), book, metrics, &config.identity, folder, http))
        });
        Self {
            notifier,
            reviewer: Reviewer::new(client.clone(), key.held()),
            desk: Arc::new(Desk::new(client.clone(), Arc::clone(&book), key.held())),
            clerk: Arc::new(clerk),
            book,
            key,
        }
    }

    /// Begins to watch and to work.
    pub fn start(&self, watching: Client) {
        tokio::spawn(watch(Arc::clone(&self.book), self.key.clone(), watching));
        let clerk = Arc::clone(&self.clerk);
        tokio::spawn(async move { clerk.work().await });
        if let Some(notifier) = self.notifier.clone() {
            tokio::spawn(async move { notifier.work().await });
        }
    }

    /// The leader's part, to be called again and again.
    pub async fn lead(&self) {
        match self.key.fill().await {
            Ok(true) => tracing::info!(event = "approval_key_made"),
            Ok(false) => {}
            Err(error) => tracing::warn!(event = "approval_key_not_made", %error),
        }
        self.clerk.lead();
        if let Some(notifier) = &self.notifier {
            notifier.lead();
        }
    }
}

/// As it stands in objects: RFC 3339 in UTC, to the millisecond.
fn written(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `sha256:HEX`.
fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref()))
}
