//! The watch that fills the book, on every replica.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crds::approval::ApprovalRequest;
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watching};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::StreamExt as _;

use super::book::Book;
use super::key::{KeyError, Store};
use super::request::{Id, Request};

/// Between two looks at what time has changed.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks at the key, and the same while there is none.
const LOOK: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(1));

/// Of one watch, in seconds: a connection that died in silence is found out after it.
const LIFE: u32 = 20;

/// Watches until it is dropped. `client` must not give up a read that is silent for less than 30 s.
pub async fn watch(book: Arc<Book>, key: Store, client: Client) {
    tokio::join!(requests(&book, client.clone()), keys(&book, &key), book.lives().watch(client), ticks(&book));
}

async fn requests(book: &Book, client: Client) {
    let api: Api<DeserializeGuard<ApprovalRequest>> = Api::all(client);
    // Lists are of this moment, not of the API server's cache: a request that we made is never missing in one.
    let mut events = pin!(watching(api, watcher::Config::default().timeout(LIFE)).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => book.list_begins(),
            Ok(Event::InitDone) => book.list_ends(),
            Ok(Event::Apply(object) | Event::InitApply(object)) => match read(&object) {
                Ok(request) => book.put(request, Timestamp::now()),
                // It is not counted: nobody waits for it, or waits in vain.
                Err(error) => {
                    book.remove(&id(&object));
                    tracing::warn!(event = "approval_request_unfit", name = object.name_any(), error);
                }
            },
            Ok(Event::Delete(object)) => book.remove(&id(&object)),
            Err(error) => tracing::warn!(event = "watch_broke", kind = "ApprovalRequest", %error),
        }
    }
}

fn read(object: &DeserializeGuard<ApprovalRequest>) -> Result<Request, String> {
    let object = object.0.as_ref().map_err(|invalid| invalid.error.clone())?;
    Request::read(object).map_err(|error| error.to_string())
}

fn id(object: &DeserializeGuard<ApprovalRequest>) -> Id {
    (object.namespace().unwrap_or_default(), object.name_any())
}

async fn keys(book: &Book, key: &Store) {
    loop {
        match key.read().await {
            Ok(true) => {
                tracing::info!(event = "approval_key_read");
                book.count_again(Timestamp::now());
            }
            Ok(false) => {}
            Err(error @ KeyError::Empty) => tracing::debug!(event = "approval_key_not_read", %error),
            Err(error) => tracing::warn!(event = "approval_key_not_read", %error),
        }
        tokio::time::sleep(if key.held().is_there() { LOOK.0 } else { LOOK.1 }).await;
    }
}

async fn ticks(book: &Book) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        book.tick(Timestamp::now());
    }
}
