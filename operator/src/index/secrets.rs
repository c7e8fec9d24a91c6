//! The Secrets that targets name, each watched alone: the operator may read no others, and where it may not read one it
//! is as if there were none.
//!
//! Bounded: how many are followed, see [`share`], and how often one is asked for that may not be read, see [`Patience`].
//! What is beyond the bound is not read at all. Invariant: what a follower that was ended still hears is written nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crds::manifest::SecretBytes;
use crds::target::HOSTS_ANNOTATION;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_stream::StreamExt as _;

use super::Index;
use super::feed::said;
use super::hosts::Hosts;
use super::patience::{Patience, Pauses};
use super::share::{self, Name};
use crate::metrics::Metrics;

/// Of one watch, in seconds: there are many of them.
const LIFE: u32 = 60;
const LIST: Duration = Duration::from_secs(60);
/// After an error: short, since nothing is told to a pod that needs the Secret until it is known again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// What is known of one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not read yet, or no longer followed.
    Unknown,
    /// It is not there, or may not be read.
    Missing,
    /// More are named than are followed, and it is none of these.
    Beyond,
    Present(Present),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Another for other content.
    pub version: String,
    pub data: BTreeMap<String, SecretBytes>,
    /// Where it may be used.
    pub hosts: Hosts,
}

/// How Secrets are followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// One that does not say for which hosts it is, is for none.
    pub(super) named_hosts: bool,
    pub(super) refused: Pauses,
}

/// Where one follower writes, and how it is woken.
struct Follower {
    index: Arc<Index>,
    client: Client,
    metrics: Arc<Metrics>,
    manner: Manner,
    name: Name,
    /// Set and read under the lock of the world alone.
    ended: Arc<AtomicBool>,
    again: Arc<Notify>,
}

/// A follower as [`follow`] knows it.
struct Followed {
    task: AbortHandle,
    ended: Arc<AtomicBool>,
    again: Arc<Notify>,
    /// The targets that name the Secret.
    by: BTreeSet<String>,
}

/// Follows what targets name, until the runtime ends.
pub(super) async fn follow(index: Arc<Index>, client: Client, metrics: Arc<Metrics>, manner: Manner) {
    let mut changes = index.changes();
    let mut all: BTreeMap<Name, Followed> = BTreeMap::new();
    let mut beyond: BTreeSet<Name> = BTreeSet::new();
    loop {
        let named = index.named_secrets();
        let (chosen, before) = (share::followed(&named), beyond.len());
        all.retain(|name, followed| {
            let kept = chosen.contains(name);
            if !kept {
                followed.task.abort();
                index.change(|world| {
                    followed.ended.store(true, Ordering::Relaxed);
                    world.remove_secret(&name.0, &name.1)
                });
            }
            kept
        });
        beyond.retain(|name| {
            let still = named.contains_key(name) && !chosen.contains(name);
            if !still {
                index.change(|world| world.remove_secret(&name.0, &name.1));
            }
            still
        });
        for (name, naming) in named {
            if !chosen.contains(&name) {
                if !beyond.contains(&name) {
                    index.change(|world| world.set_secret(&name.0, &name.1, State::Beyond));
                    beyond.insert(name);
                }
                continue;
            }
            match all.get_mut(&name) {
                Some(followed) if followed.by == naming.by => {}
                Some(followed) => {
                    followed.by = naming.by;
                    followed.again.notify_one();
                }
                None => {
                    let (ended, again) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
                    let follower = Follower {
                        index: Arc::clone(&index),
                        client: client.clone(),
                        metrics: Arc::clone(&metrics),
                        manner,
                        name: name.clone(),
                        ended: Arc::clone(&ended),
                        again: Arc::clone(&again),
                    };
                    let task = tokio::spawn(follower.run()).abort_handle();
                    all.insert(name, Followed { task, ended, again, by: naming.by });
                }
            }
        }
        if beyond.len() > before {
            // Which ones, the status of their targets says.
            tracing::error!(event = "too_many_secrets", not_followed = beyond.len());
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

// === impl Follower ===

impl Follower {
    async fn run(self) {
        let (namespace, name) = (self.name.0.as_str(), self.name.1.as_str());
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let config = Config::default().any_semantic().timeout(LIFE).fields(&format!("metadata.name={name}"));
        let mut patience = Patience::new(self.manner.refused);
        let (mut pause, mut told) = (FIRST_PAUSE, false);
        self.set(State::Unknown);
        loop {
            let mut events = Box::pin(watcher(api.clone(), config.clone()));
            let (mut listed, mut synced) = (State::Missing, false);
            let error = loop {
                let event = if synced {
                    // It ends by itself, see `LIFE`.
                    events.next().await
                } else {
                    timeout(LIST, events.next()).await.unwrap_or(None)
                };
                match event {
                    Some(Ok(Event::Init)) => listed = State::Missing,
                    Some(Ok(Event::InitApply(secret))) => listed = self.present(secret),
                    Some(Ok(Event::InitDone)) => {
                        (synced, pause, told) = (true, FIRST_PAUSE, false);
                        patience.reset();
                        self.set(std::mem::replace(&mut listed, State::Missing));
                    }
                    Some(Ok(Event::Apply(secret))) => self.set(self.present(secret)),
                    Some(Ok(Event::Delete(_))) => self.set(State::Missing),
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            };
            if error.as_ref().is_some_and(forbidden) {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(event = "secret_forbidden", namespace, name);
                }
                self.set(State::Missing);
                self.refused(&mut patience).await;
                continue;
            }
            self.metrics.watch_lost("secret");
            let error = error.as_ref().map_or_else(|| "no answer in time".to_owned(), said);
            tracing::warn!(event = "watch_lost", of = "secret", namespace, name, error);
            self.set(State::Unknown);
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LAST_PAUSE);
        }
    }

    /// Waits before it is asked for again; less when a target that names it changes meanwhile.
    async fn refused(&self, patience: &mut Patience) {
        let now = Instant::now();
        let mut pause = patience.refused(now);
        loop {
            let due = now.checked_add(pause).unwrap_or(now);
            tokio::select! {
                () = sleep_until(due.into()) => return,
                () = self.again.notified() => pause = pause.min(patience.reset()),
            }
        }
    }

    /// Also over what a follower of the same name left behind when it ended.
    fn set(&self, state: State) {
        let (namespace, name) = (&self.name.0, &self.name.1);
        self.index.change(|world| !self.ended.load(Ordering::Relaxed) && world.set_secret(namespace, name, state));
    }

    fn present(&self, secret: Secret) -> State {
        let metadata = secret.metadata;
        let annotation = metadata.annotations.as_ref().and_then(|all| all.get(HOSTS_ANNOTATION));
        let hosts = Hosts::of(annotation.map(String::as_str), self.manner.named_hosts);
        let (uid, version) = (metadata.uid.unwrap_or_default(), metadata.resource_version.unwrap_or_default());
        let data = secret.data.unwrap_or_default();
        let data = data.into_iter().map(|(key, value)| (key, SecretBytes::new(value.0))).collect();
        State::Present(Present { version: format!("{uid}/{version}"), data, hosts })
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

#[cfg(test)]
mod tests;
