//! `check`: is everything as it must be, here or on a cluster?
//!
//! Without a cluster the sidecar looks at its own configuration, since only it knows how to log in to targets. On a
//! cluster the objects tell. Invariant: what could not be looked at is a failure, never passed over.

mod cluster;
mod objects;
mod report;
mod sidecar;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::cluster::{Cluster, ClusterOptions, segment};
use crate::exit::{self, Usage};
use crate::place::Place;
use crate::screen::Screen;
use crate::when;

use report::Report;

const PAUSE: Duration = Duration::from_secs(2);

const LONG: &str = "With a configuration (--config, or ./agentaccess.yaml) it runs `agentaccess-sidecar check --config FILE`, found beside this \
program or in PATH, and ends with its exit status. With --cluster, --pre or --wait, and where there is no configuration, \
it looks at the cluster, through kubectl: first that it can be reached, then what the chart installs, governed \
namespaces and their pods, policies and targets. Each failure says what to do.

Exit status: 0 nothing failed, warnings do not count; 1 something failed, or could not be looked at; 2 wrong usage.";

/// Look for everything that is wrong: of a sidecar's configuration, or on a cluster.
#[derive(Args)]
#[command(after_long_help = LONG)]
pub(crate) struct Check {
    /// Look at the cluster.
    #[arg(long)]
    cluster: bool,
    /// Look at the cluster before anything is installed: its version, and whether you may install.
    #[arg(long)]
    pre: bool,
    /// Look at the cluster again until nothing fails, at most this long.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5m", value_parser = when::length)]
    wait: Option<Duration>,
    /// Namespace of the operator.
    #[arg(long, value_name = "NAME", default_value = "agentaccess-system")]
    operator_namespace: String,
    #[command(flatten)]
    options: ClusterOptions,
}

impl Check {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let on_cluster = self.cluster || self.pre || self.wait.is_some() || self.options.context.is_some();
        if on_cluster && place.names_config() {
            let text =
                "--config is about a sidecar of its own, the other options are about a cluster: give one of them";
            return Err(Usage(text.to_owned()).into());
        }
        if !on_cluster && (place.names_config() || Path::new(place.config()).exists()) {
            return sidecar::check(place);
        }
        let cluster = Cluster::new(&self.options);
        segment(&self.operator_namespace).map_err(|error| Usage(format!("--operator-namespace: {error}")))?;
        let end = self.wait.map(|wait| Instant::now() + wait);
        let report = loop {
            let report = self.look(&cluster);
            let again = report.failed() && end.is_some_and(|end| Instant::now() + PAUSE < end);
            if !again {
                break report;
            }
            std::thread::sleep(PAUSE);
        };
        report.say(screen)?;
        Ok(if report.failed() { exit::FAILED } else { exit::DONE })
    }

    fn look(&self, cluster: &Cluster) -> Report {
        let mut report = Report::default();
        if !cluster::reachable(cluster, &mut report) {
            return report;
        }
        if self.pre {
            cluster::may_install(cluster, &mut report);
        } else if cluster::installed(cluster, &self.operator_namespace, &mut report) {
            objects::pods(cluster, &mut report);
            objects::policies(cluster, &mut report);
        }
        report
    }
}
