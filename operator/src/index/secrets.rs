//! The Secrets that targets name, each watched alone: the operator may read no others, and where it may not read one it
//! is as if there were none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crds::manifest::SecretBytes;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client};
use tokio::task::AbortHandle;
use tokio_stream::StreamExt as _;

use super::Index;
use super::feed::said;
use crate::metrics::Metrics;

/// Of one watch, in seconds: there are many of them.
const LIFE: u32 = 60;
const LIST: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// After we were told that we may not: a role may come later.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(10);
/// Watched at a time; what is beyond counts as missing.
const MOST: usize = 2_048;

/// What is known of one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not read yet, or no longer followed.
    Unknown,
    /// It is not there, or may not be read.
    Missing,
    Present(Present),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Another for other content.
    pub version: String,
    pub data: BTreeMap<String, SecretBytes>,
}

/// Follows what targets name, until the runtime ends.
pub(super) async fn follow(index: Arc<Index>, client: Client, metrics: Arc<Metrics>) {
    let mut changes = index.changes();
    let mut followed: BTreeMap<(String, String), AbortHandle> = BTreeMap::new();
    loop {
        let named = index.named_secrets();
        followed.retain(|key, task| {
            let kept = named.contains(key);
            if !kept {
                task.abort();
                index.change(|world| world.remove_secret(&key.0, &key.1));
            }
            kept
        });
        for key in named {
            if followed.contains_key(&key) {
                continue;
            }
            if followed.len() >= MOST {
                tracing::error!(event = "too_many_secrets", most = MOST, namespace = key.0, name = key.1);
                index.change(|world| world.set_secret(&key.0, &key.1, State::Missing));
                continue;
            }
            let task = one(Arc::clone(&index), client.clone(), Arc::clone(&metrics), key.clone());
            followed.insert(key, tokio::spawn(task).abort_handle());
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn one(index: Arc<Index>, client: Client, metrics: Arc<Metrics>, (namespace, name): (String, String)) {
    let api: Api<Secret> = Api::namespaced(client, &namespace);
    let config = Config::default().any_semantic().timeout(LIFE).fields(&format!("metadata.name={name}"));
    let set = |state| index.change(|world| world.set_secret(&namespace, &name, state));
    // Also over what a watch of the same name left behind when it ended.
    set(State::Unknown);
    let (mut pause, mut told) = (FIRST_PAUSE, false);
    loop {
        let mut events = Box::pin(watcher(api.clone(), config.clone()));
        let (mut listed, mut synced) = (State::Missing, false);
        let error = loop {
            let event = if synced {
                // It ends by itself, see `LIFE`.
                events.next().await
            } else {
                tokio::time::timeout(LIST, events.next()).await.unwrap_or(None)
            };
            match event {
                Some(Ok(Event::Init)) => listed = State::Missing,
                Some(Ok(Event::InitApply(secret))) => listed = present(secret),
                Some(Ok(Event::InitDone)) => {
                    (synced, pause, told) = (true, FIRST_PAUSE, false);
                    set(std::mem::replace(&mut listed, State::Missing));
                }
                Some(Ok(Event::Apply(secret))) => set(present(secret)),
                Some(Ok(Event::Delete(_))) => set(State::Missing),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        if error.as_ref().is_some_and(forbidden) {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(event = "secret_forbidden", namespace, name);
            }
            set(State::Missing);
            tokio::time::sleep(FORBIDDEN_PAUSE).await;
            continue;
        }
        metrics.watch_lost("secret");
        let error = error.as_ref().map_or_else(|| "no answer in time".to_owned(), said);
        tracing::warn!(event = "watch_lost", of = "secret", namespace, name, error);
        set(State::Unknown);
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LAST_PAUSE);
    }
}

fn forbidden(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => status.code == 403,
        watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

fn present(secret: Secret) -> State {
    let version =
        format!("{}/{}", secret.metadata.uid.unwrap_or_default(), secret.metadata.resource_version.unwrap_or_default());
    let data = secret.data.unwrap_or_default();
    let data = data.into_iter().map(|(key, value)| (key, SecretBytes::new(value.0))).collect();
    State::Present(Present { version, data })
}
