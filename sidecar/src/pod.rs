//! In a pod behind the fence: what names and destinations of its agents mean, kept the same as the policies in force.
//!
//! The addresses of names are on disk before anybody is told them, so that they are the same after a restart. Where they
//! cannot be written, the destinations in force stay as they are, new names have none, and writing is tried again.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use policy::PolicySet;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::destinations::Destinations;
use crate::destinations::addresses::{Addresses, Damaged};
use crate::dns::{DnsServer, Names};
use crate::fence::probe::{ADDRESS_V4, Nonce};
use crate::fence::ruleset::{DNS_PORT, TCP_PORT};
use crate::listen::transparent::{Guide, Pod, TransparentDoor, on_loopback};
use crate::listen::{ListenError, Lobby};
use crate::metrics::Metrics;
use crate::outside::{Policies, Reach, Subjects, Target};
use crate::secret::Secrets;
use crate::state::write_whole;
use crate::vital;

/// After a write that failed.
const RETRY: Duration = Duration::from_secs(10);
/// Nothing in it is a secret.
const MODE: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
pub enum PodError {
    #[error("cannot {action} the addresses of names `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the addresses of names `{path}`: {source}: restore the file, or remove it and restart the agents too")]
    Damaged { path: PathBuf, source: Damaged },
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// What listens behind the fence, and not yet accepts.
pub(crate) struct Served {
    pod: Pod,
    doors: Vec<TransparentDoor>,
    dns: DnsServer,
    names: Names,
}

/// The current destinations.
type Current = watch::Receiver<Arc<Destinations>>;

/// The addresses on disk, and the namespace whose targets have some.
struct Book {
    path: PathBuf,
    namespace: String,
    addresses: Addresses,
}

/// Reads the addresses of names and opens the doors. Within the runtime.
///
/// # Errors
/// When the file cannot be read, understood or written, or a port not bound.
pub(crate) fn open(
    subject: Subjects,
    nonce: &Nonce,
    addresses: &Path,
    secrets: &Arc<Secrets>,
    policies: &Policies,
) -> Result<Served, PodError> {
    let destinations = follow(addresses, &subject.now().namespace, policies.clone(), RETRY)?;
    let (probe, current) = (nonce.name(), destinations.clone());
    let names: Names = Arc::new(move |name| match name.eq_ignore_ascii_case(&probe) {
        true => Some(ADDRESS_V4),
        false => current.borrow().address(name),
    });
    let guide = Arc::new(Signpost { destinations, secrets: Arc::clone(secrets) });
    let pod = Pod { subject, nonce: nonce.clone(), guide };
    Ok(Served { pod, doors: TransparentDoor::open()?, dns: DnsServer::open()?, names })
}

/// Whether [`open`] could succeed now; for `check`. The ports are bound for a moment.
pub(crate) fn check(namespace: &str, addresses: &Path) -> Result<String, PodError> {
    Book::open(addresses, namespace)?;
    on_loopback(TCP_PORT, std::net::TcpListener::bind)?;
    on_loopback(DNS_PORT, std::net::TcpListener::bind)?;
    on_loopback(DNS_PORT, std::net::UdpSocket::bind)?;
    Ok(format!("ports {TCP_PORT} and {DNS_PORT} of the loopback are free"))
}

impl Served {
    pub(crate) fn serve(self, lobby: &Lobby, metrics: &Arc<Metrics>) {
        self.dns.serve(self.names, Arc::clone(metrics));
        for door in self.doors {
            tokio::spawn(door.serve(self.pod.clone(), lobby.clone()));
        }
    }
}

/// Follows the policies until the runtime ends.
fn follow(path: &Path, namespace: &str, mut policies: Policies, retry: Duration) -> Result<Current, PodError> {
    let mut book = Book::open(path, namespace)?;
    let first = Arc::clone(&policies.borrow_and_update().set);
    let (sender, receiver) = watch::channel(Arc::new(book.destinations(&first)?));
    vital::spawn("destinations", async move {
        let mut failed = false;
        loop {
            // Cancel-safe: a change that is not seen in time is seen the next time.
            let changed = match failed {
                true => timeout(retry, policies.changed()).await.unwrap_or(Ok(())),
                false => policies.changed().await,
            };
            if changed.is_err() {
                return;
            }
            let set = Arc::clone(&policies.borrow_and_update().set);
            let (back, made) = vital::blocking("destinations", move || {
                let made = book.destinations(&set);
                (book, made)
            })
            .await;
            book = back;
            failed = made.is_err();
            match made {
                Ok(made) => drop(sender.send_replace(Arc::new(made))),
                Err(error) => tracing::error!(event = "destinations", %error, "the old ones stay in force"),
            }
        }
    });
    Ok(receiver)
}

impl Book {
    fn open(path: &Path, namespace: &str) -> Result<Self, PodError> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| PodError::Io { action: "read", path: path.to_owned(), source })?,
        };
        let addresses =
            Addresses::parse(&text).map_err(|source| PodError::Damaged { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), namespace: namespace.to_owned(), addresses })
    }

    fn destinations(&mut self, set: &PolicySet) -> Result<Destinations, PodError> {
        let mut addresses = self.addresses.clone();
        let targets = set.targets().iter().filter(|(key, _)| key.namespace == self.namespace);
        let (made, unreachable) = Destinations::new(targets, &mut addresses);
        if addresses != self.addresses {
            write_whole(&self.path, MODE, addresses.to_text().as_bytes()).map_err(|source| PodError::Io {
                action: "write",
                path: self.path.clone(),
                source,
            })?;
            self.addresses = addresses;
        }
        for reason in unreachable {
            tracing::warn!(event = "unreachable_target", reason);
        }
        Ok(made)
    }
}

/// Answers the door behind the fence.
struct Signpost {
    destinations: Current,
    secrets: Arc<Secrets>,
}

impl Guide for Signpost {
    fn target(&self, destination: SocketAddr) -> Result<Arc<Target>, String> {
        let destinations = Arc::clone(&self.destinations.borrow());
        let meant = destinations.target(destination).ok_or("no AccessTarget stands for it")?;
        let target = Target::of(&meant.key, self.secrets.held().set.targets().get(&meant.key))?;
        // Between a change of the policies and the destinations that follow from it, a name must not lead elsewhere.
        match target.host == meant.host && target.port == meant.port {
            true => Ok(Arc::new(Target { reach: Reach::OutOfThePod, ..target })),
            false => Err(format!("AccessTarget `{}` is being changed", meant.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(host: &str) -> PolicySet {
        let text = format!(
            "{{protocol: Postgres, host: {host}, port: 5432, credentialRef: {{name: c}}, postgres: {{databases: [d]}}}}"
        );
        let target = |namespace: &str, name: &str| policy::Named {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            spec: serde_yaml::from_str(&text).unwrap(),
        };
        let targets = vec![target("ours", "db"), target("theirs", "other")];
        policy::compile(&policy::Input { targets, ..policy::Input::default() }).unwrap()
    }

    #[tokio::test]
    async fn a_write_that_failed_is_tried_again() {
        let retry = Duration::from_millis(100);
        let dir = tempfile::tempdir().unwrap();
        let snapshot = |host| crate::outside::PolicySnapshot {
            set: Arc::new(set(host)),
            confirmed: std::time::Instant::now(),
            max_age: crate::outside::MAX_POLICY_AGE,
        };
        let (sender, policies) = watch::channel(snapshot("a.example"));
        let mut current = follow(&dir.path().join("addresses"), "ours", policies, retry).unwrap();
        let in_the_way = dir.path().join("addresses.tmp");
        std::fs::create_dir(&in_the_way).unwrap();
        sender.send_replace(snapshot("b.example"));
        assert!(timeout(retry * 3, current.changed()).await.is_err());
        assert!(current.borrow().address("a.example").is_some());
        std::fs::remove_dir(&in_the_way).unwrap();
        timeout(Duration::from_secs(5), current.changed()).await.unwrap().unwrap();
        assert!(current.borrow().address("b.example").is_some() && current.borrow().address("a.example").is_none());
    }

    #[test]
    fn addresses_are_on_disk_before_they_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses");
        let first = Book::open(&path, "ours").unwrap().destinations(&set("a.example")).unwrap();
        let address = first.address("a.example").unwrap();
        // The target of another namespace has the same host, which does not make it two claims.
        assert_eq!(first.target((address, 5432).into()).unwrap().key.to_string(), "ours/db");

        let mut book = Book::open(&path, "ours").unwrap();
        assert_eq!(book.destinations(&set("a.example")).unwrap(), first);
        let second = book.destinations(&set("b.example")).unwrap();
        assert_eq!(second.address("a.example"), None);
        assert_ne!(second.address("b.example"), Some(address));
        // Not to be written: no address for the new name, and the list is as it was.
        std::fs::create_dir(dir.path().join("addresses.tmp")).unwrap();
        assert!(book.destinations(&set("c.example")).unwrap_err().to_string().contains("cannot write"));
        assert!(book.destinations(&set("b.example")).is_ok());
        assert_eq!(Book::open(&path, "ours").unwrap().addresses, book.addresses);

        std::fs::write(&path, "198.18.0.1\n").unwrap();
        let error = Book::open(&path, "ours").err().unwrap().to_string();
        assert!(error.contains("line 1 is not"), "{error}");
    }
}
