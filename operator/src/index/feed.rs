//! The watches of whole kinds. One that breaks is begun anew with a list; until then nothing is told.
//!
//! The API server ends each watch after [`LIFE`] and it is begun again, so that a connection that died in silence is
//! found out soon.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::{DeserializeGuard, GroupVersionKind};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_stream::StreamExt as _;

use super::object::{Kind, Object};
use super::pod::{Pod, Watched};
use super::told::Told;
use super::{Feed, Index, World};
use crate::metrics::Metrics;

/// Of one watch, in seconds.
const LIFE: u32 = 20;
/// For the next page of a list: doubled from the first to the last. A request that was lost with its connection costs
/// seconds, and an API server that needs long is heard in the end.
const FIRST_LIST: Duration = Duration::from_secs(10);
const LAST_LIST: Duration = Duration::from_secs(60);
/// Between two attempts: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// What is done with what is watched.
struct Sink<K> {
    feed: Feed,
    replace: fn(&mut World, Vec<K>) -> bool,
    apply: fn(&mut World, K) -> bool,
    remove: fn(&mut World, K) -> bool,
}

pub(super) fn follow(index: &Arc<Index>, client: &Client, metrics: &Arc<Metrics>) {
    let pods = Api::<Watched>::all_with(client.clone(), &ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()));
    let governed = config().labels(&format!("{}=true", crds::pod::INJECTED_LABEL));
    run(
        index,
        metrics,
        pods,
        governed,
        Sink {
            feed: Feed::Pods,
            replace: |world, all| world.replace_pods(all.into_iter().filter_map(Pod::of).collect()),
            apply: |world, watched: Watched| {
                let uid = watched.metadata.uid.clone().unwrap_or_default();
                match Pod::of(watched) {
                    Some(pod) => world.set_pod(pod),
                    None => world.remove_pod(&uid),
                }
            },
            remove: |world, watched| world.remove_pod(&watched.metadata.uid.unwrap_or_default()),
        },
    );
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    run(
        index,
        metrics,
        namespaces,
        config(),
        Sink {
            feed: Feed::Namespaces,
            replace: |world, all| world.replace_namespaces(all.into_iter().map(labels).collect()),
            apply: |world, one| {
                let (name, labels) = labels(one);
                world.set_namespace(&name, labels)
            },
            remove: |world, one| world.remove_namespace(&labels(one).0),
        },
    );
    objects(
        index,
        client,
        metrics,
        Kind::Policy,
        Sink {
            feed: Feed::Policies,
            replace: |world, all| world.replace_objects(Kind::Policy, read(Kind::Policy, all)),
            apply: |world, one| set(world, Kind::Policy, one),
            remove: |world, one| remove(world, Kind::Policy, &one),
        },
    );
    objects(
        index,
        client,
        metrics,
        Kind::ClusterPolicy,
        Sink {
            feed: Feed::ClusterPolicies,
            replace: |world, all| world.replace_objects(Kind::ClusterPolicy, read(Kind::ClusterPolicy, all)),
            apply: |world, one| set(world, Kind::ClusterPolicy, one),
            remove: |world, one| remove(world, Kind::ClusterPolicy, &one),
        },
    );
    objects(
        index,
        client,
        metrics,
        Kind::Target,
        Sink {
            feed: Feed::Targets,
            replace: |world, all| world.replace_objects(Kind::Target, read(Kind::Target, all)),
            apply: |world, one| set(world, Kind::Target, one),
            remove: |world, one| remove(world, Kind::Target, &one),
        },
    );
}

/// One that cannot be read does not stop the others.
type Guarded = DeserializeGuard<DynamicObject>;

fn objects(index: &Arc<Index>, client: &Client, metrics: &Arc<Metrics>, kind: Kind, sink: Sink<Guarded>) {
    let known = GroupVersionKind::gvk(crds::GROUP, crds::VERSION, kind.as_str());
    let resource = ApiResource::from_gvk_with_plural(&known, kind.plural());
    run(index, metrics, Api::<Guarded>::all_with(client.clone(), &resource), config(), sink);
}

fn config() -> Config {
    Config::default().any_semantic().timeout(LIFE)
}

fn run<K>(index: &Arc<Index>, metrics: &Arc<Metrics>, api: Api<K>, config: Config, sink: Sink<K>)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let (index, metrics) = (Arc::clone(index), Arc::clone(metrics));
    tokio::spawn(async move {
        let (mut pause, mut patience) = (FIRST_PAUSE, FIRST_LIST);
        loop {
            let (error, synced) = once(&index, &api, &config, &sink, patience).await;
            index.change(|world| world.sync(sink.feed, false));
            metrics.watch_lost(sink.feed.word());
            tracing::warn!(event = "watch_lost", of = sink.feed.word(), %error);
            (pause, patience) = if synced {
                (FIRST_PAUSE, FIRST_LIST)
            } else {
                (pause.saturating_mul(2).min(LAST_PAUSE), patience.saturating_mul(2).min(LAST_LIST))
            };
            tokio::time::sleep(pause).await;
        }
    });
}

/// Until it breaks: why, and whether it was in sync before.
async fn once<K>(index: &Index, api: &Api<K>, config: &Config, sink: &Sink<K>, patience: Duration) -> (String, bool)
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = Box::pin(watcher(api.clone(), config.clone()));
    let (mut listed, mut synced) = (Vec::new(), false);
    loop {
        let event = if synced {
            // A watch without news is normal; one that died ends by itself, see `LIFE`.
            events.next().await
        } else {
            match tokio::time::timeout(patience, events.next()).await {
                Ok(event) => event,
                Err(_) => return (format!("no list in {} s", patience.as_secs()), synced),
            }
        };
        match event {
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(one))) => listed.push(one),
            Some(Ok(Event::InitDone)) => {
                let all = std::mem::take(&mut listed);
                let found = all.len();
                index.change(|world| (sink.replace)(world, all) | world.sync(sink.feed, true));
                tracing::info!(event = "watch_synced", of = sink.feed.word(), found);
                synced = true;
            }
            Some(Ok(Event::Apply(one))) => index.change(|world| (sink.apply)(world, one)),
            Some(Ok(Event::Delete(one))) => index.change(|world| (sink.remove)(world, one)),
            Some(Err(error)) => return (said(&error), synced),
            None => return ("it ended".to_owned(), synced),
        }
    }
}

/// The cause alone: the whole can hold an object.
pub(crate) fn said(error: &kube::runtime::watcher::Error) -> String {
    use kube::runtime::watcher::Error;
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status)) => format!("{} ({})", status.message, status.code),
        Error::WatchError(status) => format!("{} ({})", status.message, status.code),
        Error::InitialListFailed(_) => "it cannot be listed".to_owned(),
        Error::WatchStartFailed(_) => "it cannot be watched".to_owned(),
        Error::WatchFailed(_) => "the connection broke".to_owned(),
        Error::NoResourceVersion => "it has no resourceVersion".to_owned(),
    }
}

fn labels(one: PartialObjectMeta<Namespace>) -> (String, std::collections::BTreeMap<String, String>) {
    (one.metadata.name.unwrap_or_default(), one.metadata.labels.unwrap_or_default())
}

fn read(kind: Kind, all: Vec<Guarded>) -> Vec<Object> {
    all.into_iter().map(|one| object(kind, one)).collect()
}

fn set(world: &mut World, kind: Kind, one: Guarded) -> bool {
    // Most often only its status is another one: then nothing has to be read again.
    if let Ok(read) = &one.0 {
        let metadata = one.meta();
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let spec = read.data.get("spec").unwrap_or(&serde_json::Value::Null);
        let json = super::object::sent(kind, namespace, name, spec);
        if world.tell(kind, namespace, name, json.as_bytes(), Told::of(kind, metadata, read.data.get("status"))) {
            return false;
        }
    }
    world.set_object(kind, object(kind, one))
}

fn remove(world: &mut World, kind: Kind, one: &Guarded) -> bool {
    let metadata = one.meta();
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    world.remove_object(kind, namespace.unwrap_or_default(), name.unwrap_or_default())
}

fn object(kind: Kind, one: Guarded) -> Object {
    let metadata = one.meta();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let status = one.0.as_ref().ok().and_then(|read| read.data.get("status"));
    let told = Told::of(kind, metadata, status);
    let object = match one.0 {
        Ok(read) => {
            let spec = read.data.get("spec").cloned().unwrap_or_default();
            Object::read(kind, &namespace, &name, &spec)
        }
        Err(error) => Object::unread(&namespace, &name, &error.error),
    };
    let object = object.told(told);
    if let Err(error) = &object.read {
        tracing::warn!(event = "object_unusable", kind = kind.as_str(), namespace, name, error);
    }
    object
}
