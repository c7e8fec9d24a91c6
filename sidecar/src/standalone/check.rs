//! `agentaccess-sidecar check`: everything that `run` would find wrong, and whether the targets let us in. Nothing is
//! served or recorded, and no key is made.

use std::sync::Arc;

use recording::SigningKey;

use super::folder::load;
use super::preflight::{Throwaway, unknown_names};
use super::run::check_metrics;
use crate::config::Config;
use crate::listen;
use crate::metrics::Metrics;
use crate::outside::Target;
use crate::pod;
use crate::protocol::postgres::session::login::login;
use crate::secret::Held;
use crate::serving::CHECKPOINT_KEY;
use crate::state::{ADDRESSES, StateDir, StateError};
use crate::tls::{self, LocalCa};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For example `policies` or `target local/orders-db`.
    pub what: String,
    /// What was found, or what is wrong and what to do.
    pub result: Result<String, String>,
}

/// Looks at everything, also after the first thing that is wrong. Within the runtime.
pub async fn check(config: &Config) -> Vec<Finding> {
    tls::install_provider();
    let mut findings = Vec::new();
    let mut add = |what: String, result: Result<String, String>| findings.push(Finding { what, result });
    let running = state(config, &mut add);
    let keys = config.state_dir.join("keys");
    if keys.join("ca.key").exists() || keys.join("ca.crt").exists() {
        let ca = LocalCa::open(&keys).map(|ca| format!("CA {}", ca.file().display())).map_err(|e| e.to_string());
        add("keys".to_owned(), ca);
    }
    if keys.join(CHECKPOINT_KEY).exists() {
        let key = SigningKey::load(&keys.join(CHECKPOINT_KEY));
        add("keys".to_owned(), key.map(|k| format!("checkpoints {}", k.public())).map_err(|e| e.to_string()));
    }
    if !running {
        for listener in &config.listeners {
            let free = listen::check(listener).map(|()| format!("{} is free", listener.bind));
            add(listener.field.clone(), free.map_err(|e| e.to_string()));
        }
        if let Some(of) = &config.pod {
            let free = pod::check(&of.subject.namespace, &config.state_dir.join(ADDRESSES));
            add("pod".to_owned(), free.map_err(|e| e.to_string()));
        }
        if let Some(address) = config.metrics {
            let free = check_metrics(address).map(|()| format!("{address} is free"));
            add("metrics".to_owned(), free.map_err(|e| e.to_string()));
        }
    }
    match load(&config.policies, &config.listeners) {
        Err(error) => error.lines.into_iter().for_each(|line| add("policies".to_owned(), Err(line))),
        Ok(held) => {
            let count = held.set.targets().len();
            let warnings = held.set.warnings().len();
            add(
                "policies".to_owned(),
                Ok(format!("good: {count} targets, revision {}, {warnings} warnings", held.set.revision())),
            );
            targets(config, Arc::new(held), &mut add).await;
        }
    }
    findings
}

/// Whether a sidecar runs on the state directory. What is missing is made by `run`, not here.
fn state(config: &Config, add: &mut impl FnMut(String, Result<String, String>)) -> bool {
    let root = &config.state_dir;
    let (result, running) = match root.exists() {
        false => (Ok(format!("`{}` will be made at the first start", root.display())), false),
        true => match StateDir::open(root) {
            Ok(_) => (Ok(format!("`{}` can be used", root.display())), false),
            Err(StateError::Busy(_)) => {
                (Ok("a sidecar is running on it; its ports are not looked at".to_owned()), true)
            }
            Err(error) => (Err(error.to_string()), false),
        },
    };
    add("stateDir".to_owned(), result);
    running
}

/// Logs in to each database of each target with its credential, TLS verified as in service, and leaves.
async fn targets(config: &Config, held: Arc<Held>, add: &mut impl FnMut(String, Result<String, String>)) {
    let limits = pgcodec::Limits::default();
    let scratch = Metrics::new("check").map_err(|e| e.to_string()).map(Arc::new);
    let scratch = match scratch.and_then(|metrics| Throwaway::new(&held.set, &metrics)) {
        Ok(scratch) => scratch,
        Err(error) => return add("targets".to_owned(), Err(error)),
    };
    for (key, spec) in held.set.targets() {
        let name = format!("target {key}");
        let prepared = Target::of(key, Some(spec)).and_then(|target| {
            let credential = held.secrets.credential(key, spec).map_err(|e| e.to_string())?;
            let anchor = held.secrets.trust_anchor(key, spec).map_err(|e| e.to_string())?;
            Ok((Arc::new(target), credential, anchor))
        });
        let (target, credential, anchor) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                add(name, Err(error));
                continue;
            }
        };
        let mut catalogs = Vec::new();
        for database in &target.postgres.databases {
            let deadline = config.limits.upstream_connect;
            let result = login(&target, &credential, anchor, database, &[], &limits, deadline).await;
            let place = format!("{}:{}/{database}", target.host, target.port);
            match result {
                Err(error) => add(name.clone(), Err(format!("{place}: {error}"))),
                Ok(logged_in) => {
                    add(name.clone(), Ok(format!("{place} lets `{}` in", credential.username)));
                    match scratch.catalog(logged_in, &target, database).await {
                        Ok(catalog) => catalogs.push(catalog),
                        Err(error) => add(name.clone(), Err(format!("{place}: {error}"))),
                    }
                }
            }
        }
        if catalogs.len() == target.postgres.databases.len() {
            let all: Vec<&pgsql::Catalog> = catalogs.iter().collect();
            for line in unknown_names(&held.set, &config.listeners, key, &all) {
                add(name.clone(), Err(line));
            }
        }
    }
}
