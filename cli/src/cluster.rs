//! The way to the API server of a cluster, as kubectl takes it: kubeconfig and context, or the account of a pod.
//!
//! Objects are read as JSON, so that those of another version can be looked at too. Nothing is changed there. Every call
//! has a deadline, and lists have an end.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use kube::api::{GetParams, ListParams, PostParams, Request};
use kube::config::KubeConfigOptions;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(15);
/// Items of one page, and pages of one list.
const PAGE: u32 = 500;
const PAGES: usize = 40;

#[derive(Args, Debug)]
pub(crate) struct ClusterOptions {
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

pub(crate) struct Cluster {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

// === impl Cluster ===

impl Cluster {
    /// # Errors
    /// When no kubeconfig leads to a cluster; whether it answers is not known yet.
    pub(crate) fn connect(options: &ClusterOptions) -> Result<Self> {
        // The one provider; another of the same kind may have been installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let config = match &options.context {
                Some(context) => {
                    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
                    kube::Config::from_kubeconfig(&options).await.map_err(anyhow::Error::from)
                }
                None => kube::Config::infer().await.map_err(anyhow::Error::from),
            };
            let mut config = config.context(
                "no cluster is configured: set KUBECONFIG or give --context, or --config for a sidecar of its own",
            )?;
            config.connect_timeout = Some(PATIENCE);
            config.read_timeout = Some(PATIENCE);
            kube::Client::try_from(config).context("the kubeconfig cannot be used")
        })?;
        Ok(Self { runtime, client })
    }

    /// The one that the context names.
    pub(crate) fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// `major.minor`, and the whole of it for people.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(crate) fn version(&self) -> Result<((u32, u32), String)> {
        let info = self.within(self.client.apiserver_version())?;
        // Some add a sign to the minor version.
        let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
        let version = number(&info.major).zip(number(&info.minor));
        let version =
            version.ok_or_else(|| anyhow!("the API server's version `{}` is not understood", info.git_version))?;
        Ok((version, info.git_version))
    }

    /// One object; `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be told whether it is there.
    pub(crate) fn get(&self, collection: &str, name: &str) -> Result<Option<Value>> {
        let request = Request::new(collection).get(name, &GetParams::default())?;
        match self.within(self.client.request::<Value>(request)) {
            Ok(object) => Ok(Some(object)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error.context(format!("{collection}/{name}"))),
        }
    }

    /// All items of a collection; `None` if the cluster has no such kind.
    ///
    /// # Errors
    /// When it cannot be read, or is too long to be looked at.
    pub(crate) fn list(&self, collection: &str, labels: &str) -> Result<Option<Vec<Value>>> {
        let mut items = Vec::new();
        let mut parameters = ListParams { limit: Some(PAGE), ..ListParams::default() };
        if !labels.is_empty() {
            parameters.label_selector = Some(labels.to_owned());
        }
        for _ in 0..PAGES {
            let request = Request::new(collection).list(&parameters)?;
            let mut page = match self.within(self.client.request::<Value>(request)) {
                Ok(page) => page,
                Err(error) if is_not_found(&error) => return Ok(None),
                Err(error) => return Err(error.context(collection.to_owned())),
            };
            if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
                items.extend(more);
            }
            match page.pointer("/metadata/continue").and_then(Value::as_str).filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token.to_owned()),
                None => return Ok(Some(items)),
            }
        }
        bail!("{collection} has more than {} items: too many to look at", items.len())
    }

    /// Whether the caller may do this.
    ///
    /// # Errors
    /// When the API server does not say.
    pub(crate) fn may(&self, verb: &str, group: &str, resource: &str) -> Result<bool> {
        let review = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "group": group, "resource": resource}},
        });
        let body = serde_json::to_vec(&review)?;
        let request = Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .create(&PostParams::default(), body)?;
        let answer = self.within(self.client.request::<Value>(request))?;
        Ok(answer.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or(false))
    }

    fn within<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T> {
        self.runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, call).await {
                Ok(answer) => answer.map_err(anyhow::Error::from),
                Err(_) => Err(anyhow!("the API server did not answer within {}s", PATIENCE.as_secs())),
            }
        })
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}

/// A text in an object, or the empty one.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `namespace/name`, or the name of what has no namespace.
pub(crate) fn full_name(object: &Value) -> String {
    match text(object, "/metadata/namespace") {
        "" => text(object, "/metadata/name").to_owned(),
        namespace => format!("{namespace}/{}", text(object, "/metadata/name")),
    }
}

/// The items of a list in an object.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
