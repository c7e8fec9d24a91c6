//! Whose requests are meant: those of a sidecar on this machine, or those of a cluster.
//!
//! Invariant: who names one of them gets that one, and who names both is told so. Only who names none is guessed for: the
//! cluster for `kubectl agentaccess`, and where no sidecar is to be found here.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::remote::Remote;
use crate::cluster::{Cluster, ClusterOptions, segment};
use crate::exit::Usage;
use crate::place::Place;
use crate::screen::Screen;

#[derive(Args, Clone, Debug)]
pub(crate) struct Whose {
    /// Of a cluster, through kubectl. So it is also with --namespace, --all-namespaces or --context, as `kubectl
    /// agentaccess`, and where there is neither --state-dir, --config, AGENTACCESS_STATE_DIR, ./agentaccess.yaml nor
    /// /var/lib/agentaccess. Otherwise of the sidecar on this machine.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Namespace in the cluster [default: that of the context].
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) options: ClusterOptions,
}

#[derive(Debug)]
pub(crate) enum Source {
    /// The state directory.
    Local(PathBuf),
    Cluster(Remote),
}

// === impl Whose ===

impl Whose {
    /// `everywhere`: of all namespaces.
    pub(crate) fn source(&self, place: &Place, screen: &Screen, everywhere: bool) -> Result<Source> {
        match self.is_cluster(place, screen, everywhere)? {
            true => Ok(Source::Cluster(self.remote(Cluster::new(&self.options), everywhere)?)),
            false => Ok(Source::Local(place.state_dir()?)),
        }
    }

    pub(crate) fn is_cluster(&self, place: &Place, screen: &Screen, everywhere: bool) -> Result<bool> {
        let named = self.cluster || self.namespace.is_some() || self.options.context.is_some() || everywhere;
        if named && place.is_given() {
            let both = "--state-dir and --config name a sidecar of this machine, and --cluster, --namespace, --all-namespaces \
                        and --context a cluster: give the ones or the others";
            return Err(Usage(both.to_owned()).into());
        }
        if named || place.is_given() {
            return Ok(named);
        }
        Ok(screen.is_plugin() || !place.is_likely()?)
    }

    pub(crate) fn remote(&self, cluster: Cluster, everywhere: bool) -> Result<Remote> {
        let namespace = match (&self.namespace, everywhere) {
            (_, true) => None,
            (Some(name), false) => {
                Some(segment(name).map_err(|error| Usage(format!("--namespace: {error}")))?.to_owned())
            }
            (None, false) => Some(cluster.namespace()?),
        };
        Ok(Remote::new(cluster, namespace))
    }
}
