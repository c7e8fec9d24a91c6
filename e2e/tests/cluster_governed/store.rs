//! The store of recordings as an auditor has it: its folder, and the public half of the key that countersigned them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use archive::{Audit, AuditError, Credentials, Library, Location, RecordingId};
use e2e::cluster::Cluster;
use e2e::wait;
use recording::VerifyingKey;

/// What the chart was told to keep recordings in.
const CLAIM: &str = "agentaccess-recordings";
const NAMESPACE: &str = "agentaccess-system";

pub(crate) struct Recordings {
    pub(crate) library: Library,
    witness: VerifyingKey,
}

impl Recordings {
    /// Of the operator of this cluster, whose volume is a folder of this machine.
    pub(crate) fn open(cluster: &Cluster) -> Self {
        let volume = cluster.get(&["persistentvolume", CLAIM]).unwrap();
        let folder = PathBuf::from(volume["spec"]["hostPath"]["path"].as_str().unwrap());
        // The leader makes it, once it leads.
        let witness = wait::until("the witness's key", Duration::from_secs(60), || {
            let key = cluster.get(&["configmap", "-n", NAMESPACE, "agentaccess-recording-key"])?;
            Ok(key["data"]["witness.pub"].as_str().map(|key| key.trim().parse().unwrap()))
        })
        .unwrap();
        Self { library: library(&folder), witness }
    }

    pub(crate) fn audit(&self, id: &RecordingId) -> Result<Audit, AuditError> {
        self.library.audit(id, &self.witness)
    }
}

fn library(folder: &Path) -> Library {
    Library::open(&Location::folder(folder).unwrap(), &Credentials::None).unwrap()
}
