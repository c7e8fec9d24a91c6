//! What an injected sidecar is told: by its arguments what the operator decided, by its environment which pod it is in.
//! There is no file of settings in a pod, and no limit that a user can widen.

use std::path::{Path, PathBuf};

use control::PodName;
use crds::pod::{CA_FOLDER, ENV_NAMESPACE, ENV_STATE_SIZE, ENV_UID, STATE_DIR, STATE_SIZE, TOKEN_FILE, TOKEN_FOLDER};

use crate::config::units;
use crate::control::line::{Operator, Roots};
use crate::fence::probe::Nonce;
use crate::limits::Limits;

#[derive(Debug)]
pub struct Settings {
    pub nonce: Nonce,
    pub operator: Operator,
    pub roots: Roots,
    pub pod: PodName,
    pub folders: Folders,
    pub limits: Limits,
    /// Over this many bytes of recording new operations are refused, long before the kubelet evicts the pod.
    pub recording_bytes: u64,
}

/// Of the volume, the rest is for catalogs and for what is written last.
const RECORDING_QUARTERS: u64 = 3;
const LEAST_RECORDING: u64 = 1 << 20;
const LEAST_SEGMENT: usize = 64 << 10;
const MOST_SEGMENT: usize = 4 << 20;

/// Where the volumes of the pod are: at the places that `crds::pod` names, under a root that only tests choose.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("the environment has no {0}: this runs in an injected pod only")]
    Missing(&'static str),
    #[error("{ENV_STATE_SIZE}: `{0}` is not a size of at least 2Mi, such as `1Gi`")]
    Size(String),
    #[error("{ENV_NAMESPACE} and {ENV_UID} do not name a pod")]
    Pod,
}

impl Settings {
    /// `environment` gives the value of a variable.
    ///
    /// # Errors
    /// When the environment names no pod, or a size that is none.
    pub fn new(
        nonce: Nonce,
        operator: Operator,
        roots: Roots,
        root: &Path,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let value = |name| environment(name).filter(|v| !v.is_empty()).ok_or(SettingsError::Missing(name));
        let pod = PodName::new(&value(ENV_NAMESPACE)?, &value(ENV_UID)?).map_err(|_| SettingsError::Pod)?;
        let folders = Folders { root: root.to_owned() };
        let size = environment(ENV_STATE_SIZE).unwrap_or_else(|| STATE_SIZE.to_owned());
        // Kubernetes writes `Gi` where we write `GiB`.
        let recording_bytes = units::bytes(&format!("{size}B"))
            .map(|bytes| bytes / 4 * RECORDING_QUARTERS)
            .ok()
            .filter(|bytes| *bytes >= LEAST_RECORDING)
            .ok_or(SettingsError::Size(size))?;
        let limits = Limits { recording_segment: segment(recording_bytes), ..Limits::default() };
        Ok(Self { nonce, operator, roots, pod, folders, limits, recording_bytes })
    }
}

/// An eighth of the recording, so that what is stored can be removed before the rest is full; at most what the operator
/// takes at once after all that may be written before a segment is found to be full.
fn segment(recording_bytes: u64) -> usize {
    usize::try_from(recording_bytes / 8).unwrap_or(usize::MAX).clamp(LEAST_SEGMENT, MOST_SEGMENT)
}

impl Folders {
    /// A folder or file of the pod, by its absolute path there.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A folder of our own in the volume: the volume itself belongs to the kubelet and may be written by all.
    pub fn state(&self) -> PathBuf {
        self.at(STATE_DIR)
    }

    /// What the operator said last of its roots; beside the key of the pod's CA, where only we look.
    pub fn saved_roots(&self) -> PathBuf {
        self.at(CA_FOLDER).join("operator-roots")
    }

    pub fn token(&self) -> PathBuf {
        self.at(TOKEN_FOLDER).join(TOKEN_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_knows_its_pod_or_does_not_start() {
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap();
        let sized = |namespace: &'static str, uid: &'static str, size: Option<&'static str>| {
            let value = move |name: &str| match name {
                ENV_STATE_SIZE => size.map(str::to_owned),
                ENV_NAMESPACE => Some(namespace.to_owned()),
                ENV_UID => Some(uid.to_owned()),
                _ => None,
            };
            let operator = "https://operator:9444".parse().unwrap();
            let roots = Roots::new(vec![root.der().clone()]).unwrap();
            Settings::new("0123456789abcdef".parse().unwrap(), operator, roots, Path::new("/"), value)
        };
        let with = |namespace, uid| sized(namespace, uid, None);
        let uid = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";
        let settings = with("shop", uid).unwrap();
        assert_eq!(settings.pod.to_string(), format!("agentaccess://shop/{uid}"));
        assert_eq!(settings.folders.token(), Path::new("/run/agentaccess/token/token"));
        assert_eq!(with("", uid).unwrap_err(), SettingsError::Missing(ENV_NAMESPACE));
        assert_eq!(with("shop", "").unwrap_err(), SettingsError::Missing(ENV_UID));
        assert_eq!(with("shop/x", uid).unwrap_err(), SettingsError::Pod);
        assert_eq!(with("shop", "7").unwrap_err(), SettingsError::Pod);
        assert_eq!((settings.recording_bytes, settings.limits.recording_segment), (3 << 28, 4 << 20));
        assert_eq!(sized("shop", uid, Some("2Mi")).unwrap().limits.recording_segment, 3 << 16);
        assert_eq!(sized("shop", uid, Some("20Gi")).unwrap().recording_bytes, 15 << 30);
        for wrong in ["", "1GB", "1Mi", "Gi", "-1Gi"] {
            assert_eq!(sized("shop", uid, Some(wrong)).unwrap_err(), SettingsError::Size(wrong.to_owned()));
        }
    }
}
