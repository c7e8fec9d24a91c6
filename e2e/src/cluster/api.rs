//! Reading and making objects without a program in between: `kubectl` takes 60 ms of a core to start, and a test that
//! waits for the cluster asks hundreds of times. What people do is done with `kubectl`; what looks at it, or only wants the
//! API server's verdict, comes here and is answered in the same words.

use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method, Request};
use kube::client::Body;
use kube::{Client, Config};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Answer, Cluster};

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// As `--request-timeout` of kubectl.
const PATIENCE: Duration = Duration::from_secs(30);

static API: OnceLock<Api> = OnceLock::new();

struct Api {
    runtime: Runtime,
    client: Client,
    known: Mutex<Vec<Resource>>,
}

/// A kind that the API server has, as discovery says.
#[derive(Clone, Debug)]
struct Resource {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    prefix: String,
    plural: String,
    kind: String,
    /// Of one, and shorter ones.
    names: Vec<String>,
    namespaced: bool,
}

/// What `kubectl get` was asked for, as far as we read its words.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted<'a> {
    resource: &'a str,
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    selector: Option<&'a str>,
}

/// The object, or all that the words select. None: words that only kubectl understands.
pub(super) fn get(cluster: &Cluster, words: &[&str]) -> Result<Option<Value>> {
    let Some(wanted) = Wanted::read(words) else { return Ok(None) };
    let api = Api::of_process()?;
    let Some(resource) = api.resource(|one| one.called(wanted.resource))? else { return Ok(None) };
    let mut path = resource.path(wanted.namespace);
    if let Some(name) = wanted.name {
        path = format!("{path}/{name}");
    }
    if let Some(selector) = wanted.selector {
        path = format!("{path}?labelSelector={}", selector.replace('=', "%3D").replace(',', "%2C"));
    }
    let answer = api.ask(cluster, Method::GET, &path, None)?;
    answer.accepted(&format!("get {words:?}"))?;
    let mut found: Value = serde_json::from_str(&answer.text)?;
    // In a list the API server leaves out what kubectl says of each.
    let items = found.pointer_mut("/items").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        item.insert("kind".to_owned(), resource.kind.clone().into());
        item.insert("apiVersion".to_owned(), resource.api_version().into());
    }
    Ok(Some(found))
}

/// None: what only kubectl can make, such as a list.
pub(super) fn create(cluster: &Cluster, object: &Value, dry: bool) -> Result<Option<Answer>> {
    let api = Api::of_process()?;
    let Some(resource) = api.kind_of(object)? else { return Ok(None) };
    let path = resource.path(text(object, "/metadata/namespace"));
    let dry = if dry { "&dryRun=All" } else { "" };
    api.ask(cluster, Method::POST, &format!("{path}?fieldValidation=Strict{dry}"), Some(object)).map(Some)
}

/// What the API server says at this path.
pub(super) fn raw(cluster: &Cluster, path: &str) -> Result<Answer> {
    Api::of_process()?.ask(cluster, Method::GET, path, None)
}

/// As `kubectl apply --server-side --force-conflicts` of one object. None: a kind that is not known.
pub(super) fn apply(cluster: &Cluster, object: &Value) -> Result<Option<Answer>> {
    let api = Api::of_process()?;
    let Some(resource) = api.kind_of(object)? else { return Ok(None) };
    let name = text(object, "/metadata/name").context("an object without a name")?;
    let path = format!("{}/{name}", resource.path(text(object, "/metadata/namespace")));
    let how = "fieldManager=e2e&force=true&fieldValidation=Strict";
    api.ask(cluster, Method::PATCH, &format!("{path}?{how}"), Some(object)).map(Some)
}

/// It is asked for, and not waited for.
pub(super) fn delete_namespace(cluster: &Cluster, name: &str) -> Result<Answer> {
    Api::of_process()?.ask(cluster, Method::DELETE, &format!("/api/v1/namespaces/{name}"), None)
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    fn read(words: &[&'a str]) -> Option<Self> {
        let mut wanted = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "-n" => wanted.namespace = Some(words.next()?),
                "-l" => wanted.selector = Some(words.next()?),
                word if word.starts_with('-') || word.contains(['/', ',']) => return None,
                word if wanted.resource.is_empty() => wanted.resource = word,
                word if wanted.name.is_none() => wanted.name = Some(word),
                _ => return None,
            }
        }
        (!wanted.resource.is_empty()).then_some(wanted)
    }
}

// === impl Resource ===

impl Resource {
    fn called(&self, name: &str) -> bool {
        self.plural == name || self.names.iter().any(|one| one == name)
    }

    fn api_version(&self) -> &str {
        self.prefix.trim_start_matches("/apis/").trim_start_matches("/api/")
    }

    fn path(&self, namespace: Option<&str>) -> String {
        let Self { prefix, plural, .. } = self;
        match self.namespaced {
            true => format!("{prefix}/namespaces/{}/{plural}", namespace.unwrap_or("default")),
            false => format!("{prefix}/{plural}"),
        }
    }

    fn all(prefix: &str, discovered: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for group in list(discovered, "/items") {
            let name = text(group, "/metadata/name").map_or_else(String::new, |name| format!("/{name}"));
            for version in list(group, "/versions") {
                let Some(numbered) = text(version, "/version") else { continue };
                for one in list(version, "/resources") {
                    let (plural, kind) = (text(one, "/resource"), text(one, "/responseKind/kind"));
                    let (Some(plural), Some(kind)) = (plural, kind) else { continue };
                    let short = list(one, "/shortNames").iter().filter_map(Value::as_str);
                    all.push(Self {
                        prefix: format!("{prefix}{name}/{numbered}"),
                        plural: plural.to_owned(),
                        kind: kind.to_owned(),
                        names: short.chain(text(one, "/singularResource")).map(str::to_owned).collect(),
                        namespaced: text(one, "/scope") == Some("Namespaced"),
                    });
                }
            }
        }
        all
    }
}

// === impl Api ===

impl Api {
    fn of_process() -> Result<&'static Self> {
        if let Some(api) = API.get() {
            return Ok(api);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            let made = async { anyhow::Ok(Client::try_from(Config::infer().await?)?) };
            // Who asked waits for it.
            let _ = sender.send(made.await);
        });
        let client = receiver.recv()??;
        Ok(API.get_or_init(|| Self { runtime, client, known: Mutex::default() }))
    }

    /// One that fits; what was defined since is looked up.
    fn resource(&self, fits: impl Fn(&Resource) -> bool) -> Result<Option<Resource>> {
        let known = || self.known.lock().iter().find(|one| fits(one)).cloned();
        if let Some(found) = known() {
            return Ok(Some(found));
        }
        let anybody = Cluster { user: None, groups: Vec::new() };
        let mut all = Vec::new();
        for prefix in ["/api", "/apis"] {
            let answer = self.ask(&anybody, Method::GET, prefix, None)?;
            answer.accepted("discovery")?;
            all.extend(Resource::all(prefix, &serde_json::from_str(&answer.text)?));
        }
        *self.known.lock() = all;
        Ok(known())
    }

    fn kind_of(&self, object: &Value) -> Result<Option<Resource>> {
        let (kind, version) = (text(object, "/kind"), text(object, "/apiVersion"));
        self.resource(|one| Some(one.kind.as_str()) == kind && Some(one.api_version()) == version)
    }

    fn ask(&self, cluster: &Cluster, method: Method, path: &str, object: Option<&Value>) -> Result<Answer> {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if object.is_some() {
            let kind = if method == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
            request = request.header("content-type", kind);
        }
        request =
            request.header("accept", if matches!(path, "/api" | "/apis") { DISCOVERY } else { "application/json" });
        if let Some(user) = &cluster.user {
            request = request.header("impersonate-user", user);
        }
        for group in &cluster.groups {
            request = request.header("impersonate-group", group);
        }
        let body = object.map(|object| object.to_string().into_bytes()).unwrap_or_default();
        let request = request.body(Body::from(body))?;
        let client = self.client.clone();
        let asked = async move {
            let answer = client.send(request).await?;
            let (head, body) = answer.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        };
        let (sender, receiver) = mpsc::sync_channel(1);
        // A thread of its own, so that a test may be inside another runtime.
        self.runtime.spawn(async move {
            let _ = sender.send(tokio::time::timeout(PATIENCE, asked).await);
        });
        let (head, body) = receiver.recv()?.context("the API server did not answer in time")??;
        let said = String::from_utf8(body.to_vec())?;
        let warned = warnings(&head.headers);
        if head.status.is_success() {
            // What is made is not read.
            let text = if method == Method::GET { said } else { warned };
            return Ok(Answer { accepted: true, text });
        }
        let status: Value = serde_json::from_str(&said).unwrap_or_default();
        // Whoever is asked through the API server answers in words of its own.
        let message = text(&status, "/message").unwrap_or(&said);
        let reason = text(&status, "/reason").unwrap_or("Unknown");
        Ok(Answer { accepted: false, text: format!("{warned}Error from server ({reason}): {message}\n") })
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// RFC 7234, section 5.5: code, agent, quoted text.
fn warnings(headers: &HeaderMap) -> String {
    let texts = headers.get_all("warning").into_iter().filter_map(|value| value.to_str().ok());
    let texts = texts.filter_map(|text| Some(text.split_once('"')?.1.strip_suffix('"')?.replace("\\\"", "\"")));
    texts.map(|text| format!("Warning: {text}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_that_are_not_understood_are_left_to_kubectl() {
        let read = |words: &[&'static str]| Wanted::read(words);
        let pod = read(&["pod", "-n", "a", "x"]).unwrap();
        assert_eq!((pod.resource, pod.name, pod.namespace, pod.selector), ("pod", Some("x"), Some("a"), None));
        let labelled = read(&["pods", "-n", "a", "-l", "b=c"]).unwrap();
        assert_eq!((labelled.name, labelled.selector), (None, Some("b=c")));
        for other in [&["pods", "-A"][..], &["pods,events"], &["pod/x"], &["pod", "x", "y"], &["pod", "-n"], &[]] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_kind_has_a_path() {
        let one = |group: Value, resource: Value| json!({"items": [{"metadata": {"name": group}, "versions": [{"version": "v1", "resources": [resource]}]}]});
        let pods = json!({"resource": "pods", "responseKind": {"kind": "Pod"}, "singularResource": "pod",
            "shortNames": ["po"], "scope": "Namespaced"});
        let all = Resource::all("/api", &one(Value::Null, pods));
        assert!(all[0].called("pods") && all[0].called("pod") && all[0].called("po") && !all[0].called("p"));
        assert_eq!((all[0].path(Some("a")).as_str(), all[0].api_version()), ("/api/v1/namespaces/a/pods", "v1"));
        let nodes = json!({"resource": "roles", "responseKind": {"kind": "Role"}, "scope": "Cluster"});
        let all = Resource::all("/apis", &one(json!("a.b"), nodes));
        assert_eq!((all[0].path(Some("a")).as_str(), all[0].api_version()), ("/apis/a.b/v1/roles", "a.b/v1"));
    }

    #[test]
    fn a_warning_is_said_as_kubectl_says_it() {
        let mut headers = HeaderMap::new();
        headers.append("warning", r#"299 - "a \"b\" c""#.parse().unwrap());
        assert_eq!(warnings(&headers), "Warning: a \"b\" c\n");
    }
}
