//! The configuration: arguments, most of them with an environment variable. What is wrong with it is said before any
//! port is bound.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use archive::{Location, Trust};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Parser, ValueEnum};
use crds::duration::{DurationError, DurationText};
use crds::pod;
use k8s_openapi::api::core::v1::ResourceRequirements;
use otel::{Destination, NotADestination};
use tracing_subscriber::filter::LevelFilter;

use crate::inject::Settings;
use crate::webhook::review::Rules;

/// Puts the agentaccess sidecar into the pods of AI agents.
#[derive(Clone, Debug, Parser)]
#[command(name = "agentaccess-operator", version)]
pub struct Config {
    /// The namespace of the operator; its own pods are never injected.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// The name of this replica.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,

    /// Image of the sidecar, with its digest.
    #[arg(long, env = "AGENTACCESS_SIDECAR_IMAGE")]
    pub sidecar_image: String,
    #[arg(long, default_value = "IfNotPresent")]
    pub sidecar_pull_policy: PullPolicy,
    /// ResourceRequirements of the injected containers, as JSON.
    #[arg(long, env = "AGENTACCESS_SIDECAR_RESOURCES", default_value = "{}", value_parser = resources)]
    pub sidecar_resources: ResourceRequirements,
    /// How much the sidecar may keep on the node's disk.
    #[arg(long, default_value = "1Gi")]
    pub sidecar_state: String,
    /// For which the sidecars' tokens are made.
    #[arg(long, default_value = "agentaccess.dev")]
    pub audience: String,
    /// Secrets that pods of agents may name: `namespace/name`.
    #[arg(long, env = "AGENTACCESS_ALLOWED_SECRETS", value_delimiter = ',', value_parser = secret)]
    pub allow_secret: Vec<String>,
    /// CSI drivers whose inline volumes pods of agents may hold.
    #[arg(long, env = "AGENTACCESS_ALLOWED_CSI_DRIVERS", value_delimiter = ',')]
    pub allow_csi_driver: Vec<String>,
    /// A Secret that does not say in its annotation `agentaccess.dev/hosts` for which hosts it is, is for no target.
    #[arg(long)]
    pub secrets_name_hosts: bool,
    /// Namespaces that are never injected.
    #[arg(long, env = "AGENTACCESS_EXCLUDED_NAMESPACES", value_delimiter = ',')]
    pub exclude_namespace: Vec<String>,

    /// Where the API server dials the webhook.
    #[arg(long, default_value = "[::]:8443")]
    pub webhook: SocketAddr,
    /// The Service in front of it.
    #[arg(long, default_value = "agentaccess-operator")]
    pub webhook_service: String,
    /// Where sidecars dial the operator, over the same Service.
    #[arg(long, default_value = "[::]:9444")]
    pub control: SocketAddr,
    /// A sidecar that has not heard of the operator for so long denies everything; 10s to 1d.
    #[arg(long, default_value = "15m", value_parser = age)]
    pub max_policy_age: u32,
    /// The InjectionProfile whose `status.roots` is kept.
    #[arg(long, default_value = "agentaccess")]
    pub injection_profile: String,
    /// The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration whose `caBundle` is kept.
    #[arg(long, default_value = "agentaccess")]
    pub webhook_configuration: String,
    /// The Secret that holds the webhooks' CA.
    #[arg(long, default_value = "agentaccess-webhook-ca")]
    pub ca_secret: String,
    /// The Secret that holds the key of approvals.
    #[arg(long, default_value = "agentaccess-approval-key")]
    pub approval_key_secret: String,
    /// Where recordings are kept: `file:///FOLDER` or `s3://BUCKET/PREFIX?region=REGION`. Without it they stay in their
    /// pods.
    #[arg(long)]
    pub recordings_store: Option<Location>,
    /// Folder with the files `accessKeyId` and `secretAccessKey`; without it a bucket is opened as the environment says.
    #[arg(long, requires = "recordings_store")]
    pub recordings_credentials: Option<PathBuf>,
    /// PEM of the CA that the certificate of the bucket's server chains to, in base64: then no other counts. Without it
    /// those of the system do.
    #[arg(long, requires = "recordings_store", value_parser = authorities)]
    pub recordings_ca: Option<Trust>,
    /// How long a recording is kept after its last entry; 1h and more.
    #[arg(long, default_value = "90d", value_parser = retention)]
    pub recordings_retention: u64,
    /// The Secret that holds the key of countersignatures, and the ConfigMap that holds its public half.
    #[arg(long, default_value = "agentaccess-recording-key")]
    pub recording_key: String,
    /// A folder with `url`, `key` and perhaps `ca.crt`, of a mounted Secret: where what happens to approvals is told.
    #[arg(long)]
    pub notify: Option<PathBuf>,
    /// That URL may be http.
    #[arg(long, requires = "notify")]
    pub notify_allow_http: bool,
    /// The Lease of the leader.
    #[arg(long, default_value = "agentaccess-operator")]
    pub lease: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[arg(long, default_value = "[::]:8080")]
    pub metrics: SocketAddr,

    /// Where traces and log lines of this process and of every sidecar go, as OTLP over gRPC: `https://HOST:PORT`. None:
    /// nowhere.
    #[arg(long)]
    pub otel_endpoint: Option<String>,
    /// PEM of the CA that its certificate chains to, in base64.
    #[arg(long, requires = "otel_endpoint")]
    pub otel_ca: Option<String>,
    /// It is `http://HOST:PORT`: in clear.
    #[arg(long, requires = "otel_endpoint")]
    pub otel_insecure: bool,

    #[arg(long, default_value = "json")]
    pub log_format: LogFormat,
    #[arg(long, default_value = "info")]
    pub log_level: LevelFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    #[value(name = "Always")]
    Always,
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    #[value(name = "Never")]
    Never,
}

// === impl Config ===

impl Config {
    /// What every review is judged by.
    pub fn rules(&self) -> Rules {
        let policy = match self.sidecar_pull_policy {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        };
        let mut excluded: BTreeSet<String> = self.exclude_namespace.iter().cloned().collect();
        excluded.insert(self.namespace.clone());
        Rules {
            inject: Settings {
                image: self.sidecar_image.clone(),
                image_pull_policy: policy.to_owned(),
                audience: self.audience.clone(),
                operator: self.operator(),
                otel: self.otel_arguments(),
                resources: self.sidecar_resources.clone(),
                state_size: self.sidecar_state.clone(),
                secrets: self.allow_secret.iter().cloned().collect(),
                csi_drivers: self.allow_csi_driver.iter().cloned().collect(),
            },
            excluded,
        }
    }

    /// Where traces and log lines go.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn otel(&self) -> Result<Option<Destination>, NotADestination> {
        Destination::of_arguments(self.otel_endpoint.as_deref(), self.otel_ca.as_deref(), self.otel_insecure)
    }

    /// As the chart writes them into the InjectionProfile, by which pods are judged.
    fn otel_arguments(&self) -> Vec<String> {
        let said = |name, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
        let endpoint = said(pod::OTEL_ENDPOINT_ARGUMENT, &self.otel_endpoint);
        let ca = said(pod::OTEL_CA_ARGUMENT, &self.otel_ca);
        let insecure = self.otel_insecure.then(|| pod::OTEL_INSECURE_ARGUMENT.to_owned());
        [endpoint, ca, insecure].into_iter().flatten().collect()
    }

    /// Where an injected sidecar finds us.
    fn operator(&self) -> String {
        format!("https://{}.{}.svc:{}", self.webhook_service, self.namespace, crds::pod::CONTROL_PORT)
    }

    /// Under which the API server and the sidecars dial us.
    pub fn names(&self) -> Vec<String> {
        let service = format!("{}.{}.svc", self.webhook_service, self.namespace);
        vec![service.clone(), format!("{service}.cluster.local")]
    }
}

fn resources(text: &str) -> Result<ResourceRequirements, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // Our types would pass over a misspelt member: no limit instead of an error.
    let known = ["limits", "requests"];
    match value.as_object().and_then(|all| all.keys().find(|key| !known.contains(&key.as_str()))) {
        Some(key) => Err(format!("`{key}` is neither `limits` nor `requests`")),
        None => serde_json::from_value(value).map_err(|error| error.to_string()),
    }
}

/// Whole seconds, or a length of time with its units.
fn age(text: &str) -> Result<u32, String> {
    let seconds = match text.parse() {
        Ok(seconds) => seconds,
        Err(_) => {
            let length: DurationText = text.parse().map_err(|error: DurationError| error.to_string())?;
            length.to_std().map_err(|error| error.to_string())?.as_secs()
        }
    };
    // What the sidecar takes.
    match u32::try_from(seconds) {
        Ok(seconds) if (10..=24 * 60 * 60).contains(&seconds) => Ok(seconds),
        _ => Err("it is at least 10s and at most 1d".to_owned()),
    }
}

/// A length of time, in seconds.
fn retention(text: &str) -> Result<u64, String> {
    let length: DurationText = text.parse().map_err(|error: DurationError| error.to_string())?;
    let seconds = length.to_std().map_err(|error| error.to_string())?.as_secs();
    match seconds {
        3_600.. => Ok(seconds),
        _ => Err("it is at least `1h`".to_owned()),
    }
}

fn authorities(text: &str) -> Result<Trust, String> {
    let pem = STANDARD.decode(text).ok().and_then(|pem| String::from_utf8(pem).ok());
    Trust::only(&pem.ok_or("it is not PEM in base64")?).map_err(|error| error.to_string())
}

fn secret(text: &str) -> Result<String, String> {
    match text.split('/').filter(|part| !part.is_empty()).count() {
        2 if text.matches('/').count() == 1 => Ok(text.to_owned()),
        _ => Err("it has the form `namespace/name`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> Result<Config, clap::Error> {
        let least = ["x", "--namespace=agentaccess-system", "--identity=a-0", "--sidecar-image=i@sha256:0"];
        Config::try_parse_from(least.iter().chain(more))
    }

    #[test]
    fn the_least_and_what_follows_from_it() {
        let config = parse(&[]).unwrap();
        assert!(config.rules().excluded.contains("agentaccess-system"));
        assert_eq!(config.names()[0], "agentaccess-operator.agentaccess-system.svc");
        assert_eq!(config.rules().inject.operator, "https://agentaccess-operator.agentaccess-system.svc:9444");
        assert_eq!(config.max_policy_age, 900);
        assert!(!config.secrets_name_hosts && parse(&["--secrets-name-hosts"]).unwrap().secrets_name_hosts);
        for (text, seconds) in [("10", 10), ("90s", 90), ("1d", 86_400)] {
            assert_eq!(parse(&["--max-policy-age", text]).unwrap().max_policy_age, seconds);
        }
        assert!(config.recordings_store.is_none() && config.recordings_retention == 90 * 86_400);
        let config = parse(&["--recordings-store=file:///srv/recordings", "--recordings-retention=1h"]).unwrap();
        assert!(!config.recordings_store.unwrap().is_remote() && config.recordings_retention == 3_600);
        let ca = crate::certificate::Authority::make(crate::certificate::now()).unwrap().pem().to_owned();
        let ca = format!("--recordings-ca={}", STANDARD.encode(ca));
        let config = parse(&["--recordings-store=s3://bucket", &ca]).unwrap();
        assert!(matches!(config.recordings_ca, Some(Trust::Only(_))));
        for bad in [vec!["--recordings-store=s3://bucket", "--recordings-ca=Q0E="], vec![&ca]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        let config = parse(&["--notify=/etc/agentaccess/notify", "--notify-allow-http"]).unwrap();
        assert!(config.notify.is_some() && config.notify_allow_http);
        let config = parse(&["--allow-secret=a/b,c/d", "--sidecar-resources={\"limits\":{\"cpu\":\"1\"}}"]).unwrap();
        let rules = config.rules();
        assert!(rules.inject.secrets.contains("c/d"));
        assert_eq!(rules.inject.resources.limits.unwrap()["cpu"].0, "1");
    }

    #[test]
    fn telemetry_is_off_or_goes_where_the_arguments_say() {
        let off = parse(&[]).unwrap();
        assert_eq!((off.otel(), off.rules().inject.otel), (Ok(None), Vec::new()));
        let arguments = ["--otel-endpoint=http://collector.otel.svc:4317", "--otel-insecure"];
        let config = parse(&arguments).unwrap();
        assert_eq!(config.rules().inject.otel, arguments);
        assert_eq!(config.otel().unwrap().unwrap().to_string(), "http://collector.otel.svc:4317");
        let wrong = parse(&arguments[..1]).unwrap().otel().unwrap_err();
        assert_eq!(wrong, NotADestination::Clear);
        for bad in [["--otel-insecure"], ["--otel-ca=Q0E="]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for bad in [
            "--allow-secret=b",
            "--allow-secret=a//b",
            "--allow-secret=/b",
            "--sidecar-resources={\"limit\":{}}",
            "--sidecar-resources=x",
            "--sidecar-pull-policy=Sometimes",
            "--webhook=8443",
            "--max-policy-age=9s",
            "--max-policy-age=86401",
            "--max-policy-age=-1",
            "--max-policy-age=",
            "--recordings-store=/srv",
            "--recordings-store=ftp://host/x",
            "--recordings-credentials=/etc/x",
            "--recordings-retention=59m",
            "--recordings-retention=90",
            "--notify-allow-http",
        ] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
        assert!(Config::try_parse_from(["x", "--namespace=a"]).is_err());
    }
}
