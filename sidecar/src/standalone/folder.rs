//! One reading of the folder of policies: objects, Secrets and what they refer to, all good or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use crds::manifest::{self, MAX_FILE_BYTES, MAX_FILES, Manifest};
use crds::policy::{ApprovalSettings, Durability, Scope};
use policy::PolicySet;
use zeroize::Zeroizing;

use crate::config::{Auth, Listener};
use crate::objects::Objects;
use crate::secret::{Held, SecretMap, check_permissions};

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "local";

/// Everything that is wrong with the folder, one line each; every line names a file or a field and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unusable {
    pub folder: PathBuf,
    pub lines: Vec<String>,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lines.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{}: {} things are wrong", self.folder.display(), many.len())?;
                many.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
        }
    }
}

/// Content of the folder, for finding changes: names, permissions and bytes of what [`load`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// Reads, compiles and checks everything that the listeners need.
///
/// # Errors
/// Everything that is wrong; then nothing of the folder counts.
pub fn load(folder: &Path, listeners: &[Listener]) -> Result<Held, Unusable> {
    let unusable = |lines| Unusable { folder: folder.to_owned(), lines };
    let objects = manifest::read_folder(folder, DEFAULT_NAMESPACE)
        .map_err(|errors| unusable(errors.0.iter().map(ToString::to_string).collect()))?;
    let mut lines = Vec::new();
    let mut read = Objects::default();
    let mut files = BTreeMap::new();
    for located in objects {
        files.insert(located.manifest.describe(), format!("{}, document {}", located.file.display(), located.document));
        if let Manifest::Secret(_) = &located.manifest {
            lines.extend(check_permissions(&located.file).err().map(|e| e.to_string()));
        }
        read.add(located.manifest);
    }
    lines.dedup();
    let Objects { input, secrets } = read;
    let set = match policy::compile(&input) {
        Ok(set) => set,
        Err(errors) => {
            lines.extend(errors.iter().map(|error| match files.get(&error.object) {
                Some(file) => format!("{file} ({}): {}: {}", error.object, error.path, error.text),
                None => error.to_string(),
            }));
            return Err(unusable(lines));
        }
    };
    lines.extend(grants(&input, &files));
    lines.extend(replicated(&input, &files));
    lines.extend(references(listeners, &set, &secrets));
    if lines.is_empty() { Ok(Held { set, secrets }) } else { Err(unusable(lines)) }
}

/// Grants are ended by what the operator watches; without one an approval is good once, and nothing else may be written.
fn grants(input: &policy::Input, files: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut look = |object: String, approvals: &[ApprovalSettings]| {
        for (at, settings) in approvals.iter().enumerate().filter(|(_, settings)| settings.scope != Scope::Once) {
            let object = match files.get(&object) {
                Some(file) => format!("{file} ({object})"),
                None => object.clone(),
            };
            lines.push(format!(
                "{object}: spec.approvals[{at}].scope: {:?} needs the operator of a cluster; without one an approval is \
                 good once: write `scope: Once` and no maxGrantDuration",
                settings.scope
            ));
        }
    };
    for policy in &input.policies {
        look(format!("AgentAccessPolicy {}/{}", policy.namespace, policy.name), &policy.spec.approvals);
    }
    for policy in &input.cluster {
        look(format!("ClusterAgentAccessPolicy {}", policy.name), &policy.spec.approvals);
    }
    lines
}

/// Without an operator there is nothing to replicate to, and less than what is asked for is never in its place.
fn replicated(input: &policy::Input, files: &BTreeMap<String, String>) -> Vec<String> {
    let of_policies = input.policies.iter().map(|policy| {
        (format!("AgentAccessPolicy {}/{}", policy.namespace, policy.name), policy.spec.recording.durability)
    });
    let of_cluster = input.cluster.iter().filter_map(|policy| {
        let recording = policy.spec.recording.as_ref()?;
        Some((format!("ClusterAgentAccessPolicy {}", policy.name), recording.durability))
    });
    let wanting = of_policies.chain(of_cluster).filter(|(_, durability)| *durability == Durability::Replicated);
    let line = |(object, _)| {
        let object = match files.get(&object) {
            Some(file) => format!("{file} ({object})"),
            None => object,
        };
        format!(
            "{object}: spec.recording.durability: Replicated needs the operator of a cluster and its store; without one \
             write `durability: Synced`"
        )
    };
    wanting.map(line).collect()
}

/// What listeners refer to: without it no agent could ever connect, so that it is said at once.
fn references(listeners: &[Listener], set: &PolicySet, secrets: &SecretMap) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in listeners {
        let field = &listener.field;
        if let Auth::Scram { password, .. } = &listener.auth
            && let Err(error) = secrets.text(&listener.subject.namespace, password)
        {
            lines.push(format!("{field}.clientAuth.scram.passwordSecretRef: {error}"));
        }
        let Some(target) = set.targets().get(&listener.target) else {
            lines.push(format!(
                "{field}.target: there is no AccessTarget `{}`: add it to the folder of policies",
                listener.target
            ));
            continue;
        };
        let object = format!("AccessTarget {}", listener.target);
        if let Err(error) = secrets.credential(&listener.target, target) {
            lines.push(format!("{object}: spec.credentialRef: {error}"));
        }
        let anchor = secrets.trust_anchor(&listener.target, target).map_err(|e| e.to_string());
        if target.tls.mode == crds::target::TlsMode::VerifyFull
            && let Err(error) = anchor.and_then(|pem| crate::tls::upstream(pem).map_err(|e| e.to_string()))
        {
            lines.push(format!("{object}: spec.tls: {error}"));
        }
    }
    lines.dedup();
    lines
}

// === impl Fingerprint ===

impl Fingerprint {
    /// # Errors
    /// When the folder or a file cannot be read at this moment.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder)?
            .take(4 * MAX_FILES)
            .map(|entry| entry.map(|e| e.path()))
            .collect::<io::Result<_>>()?;
        names.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
        names.sort();
        let mut hash = Context::new(&SHA256);
        for path in names {
            // A link that leads nowhere is content too: `load` says what is wrong with it.
            let Ok(file) = std::fs::File::open(&path) else {
                part(&mut hash, path.as_os_str().as_encoded_bytes());
                continue;
            };
            let about = file.metadata()?;
            if !about.is_file() {
                continue;
            }
            part(&mut hash, path.as_os_str().as_encoded_bytes());
            part(&mut hash, &about.mode().to_be_bytes());
            let mut content = Zeroizing::new(Vec::new());
            let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
            file.take(most).read_to_end(&mut content)?;
            part(&mut hash, &content);
        }
        let mut out = [0; 32];
        out.copy_from_slice(hash.finish().as_ref());
        Ok(Self(out))
    }
}

/// With its length, so that parts cannot run together.
fn part(hash: &mut Context, bytes: &[u8]) {
    hash.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(bytes);
}
