//! Who this pod is to the operator: a key that never leaves this process, and the short certificates over it.
//!
//! The first one is given for the projected token of the pod, over a connection whose other end is proven by the roots
//! that came with the pod; later ones on the one before. Both are tried until they succeed, also where the operator says
//! that another has claimed the pod: after a restart the kubelet may tell it late. One is renewed when two thirds of it are
//! over, and soon after the operator has other roots than it came with. Refused: a certificate that is not
//! over our key, that names another pod, or that has ended. The token is in no log and no error.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use control::PodName;
use control::v1::control_client::ControlClient;
use control::v1::enrolment_client::EnrolmentClient;
use control::v1::{self, IssueRequest, RenewRequest};
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Identity};
use tonic::{Code, Status};
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use super::away::{Away, Tell};
use super::line::{Line, NotALine, Operator, Roots, dial, pem};
use super::{FIRST_PAUSE, jittered, longer, part, why};
use crate::state::write_whole;
use crate::vital;

/// For one answer, the connection included.
const PATIENCE: Duration = Duration::from_secs(10);
/// The clock of the wall is looked at so often: a machine that slept finds its certificate old at once.
const LOOK: Duration = Duration::from_secs(15);
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
/// Within it all sidecars renew that hear of other roots.
const RENEWALS: Duration = Duration::from_secs(10);
/// A projected token is a few kilobytes.
const LONGEST_TOKEN: u64 = 64 * 1024;
/// Certificates from the leaf up.
const LONGEST_CHAIN: usize = 4;

/// What a pod asks for its identity with.
#[derive(Clone, Debug)]
pub struct Claim {
    pub operator: Operator,
    /// As they came with the pod.
    pub roots: Roots,
    /// Those that came last, in a folder that no other container sees: a process that starts again long after the pod
    /// was made knows an operator whose certificates have changed since.
    pub saved: PathBuf,
    /// The projected token: the kubelet writes it anew, so it is read at each try.
    pub token: PathBuf,
    pub pod: PodName,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the token `{path}` cannot be read: {reason}")]
    Token { path: PathBuf, reason: String },
    #[error("the operator at {operator} did not answer in {} s", PATIENCE.as_secs())]
    Late { operator: Operator },
    #[error("another process has claimed this pod; the operator lets it go once it knows of our restart: {0}")]
    Claimed(String),
    #[error("the operator at {operator} answered: {text}")]
    Status { operator: Operator, text: String },
    #[error("the operator's certificate for us is not usable: {0}")]
    Certificate(&'static str),
    #[error(transparent)]
    Line(#[from] NotALine),
}

#[derive(Debug, thiserror::Error)]
#[error("the key of this pod cannot be made: {0}")]
pub struct NoKey(#[from] rcgen::Error);

/// A certificate in force and what it is renewed with.
struct Held {
    claim: Claim,
    key: KeyPair,
    csr: Vec<u8>,
    /// Those that came last.
    roots: Roots,
    /// Of those that came with the certificate; empty: none did.
    mark: Vec<u8>,
    life: Life,
}

/// By the clock of the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    from: Timestamp,
    until: Timestamp,
}

/// Waits until the operator has given this process the pod's identity; the line stays in order from then on. Every
/// failure is told.
///
/// # Errors
/// When no key can be made. Whatever the operator does, it is tried again.
pub async fn enrol(claim: Claim, tell: Tell) -> Result<Line, NoKey> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?.der().to_vec();
    let now = Timestamp::now();
    let life = Life { from: now, until: now };
    let mut held = Held { roots: claim.known_roots(), mark: Vec::new(), claim, key, csr, life };
    let mut away = Away::new("identity from the operator", tell);
    let mut pause = FIRST_PAUSE;
    let first = loop {
        match held.issue().await {
            Ok(client) => break client,
            Err(error) => away.failed(&error),
        }
        sleep(jittered(pause)).await;
        pause = longer(pause);
    };
    away.well();
    tracing::info!(event = "identity", pod = %held.claim.pod, until = %held.life.until);
    let (sender, receiver) = watch::channel(first);
    let told = Arc::new(watch::Sender::default());
    vital::spawn("identity", held.keep(sender, told.subscribe(), away));
    Ok(Line::new(receiver, told))
}

impl Claim {
    fn known_roots(&self) -> Roots {
        let saved = match std::fs::read_to_string(&self.saved) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self.roots.clone(),
            read => read.map_err(|e| e.to_string()).and_then(|text| text.parse().map_err(|e: NotALine| e.to_string())),
        };
        match saved {
            Ok(saved) => Roots::and(saved, self.roots.clone()),
            Err(error) => {
                tracing::warn!(event = "saved_roots", path = %self.saved.display(), error, "only those of the pod count");
                self.roots.clone()
            }
        }
    }
}

impl Held {
    /// Renews before the end, and when the operator has `told` of other roots, until the runtime ends.
    async fn keep(
        mut self,
        sender: watch::Sender<ControlClient<Channel>>,
        mut told: watch::Receiver<Vec<u8>>,
        mut away: Away,
    ) {
        loop {
            let look = sleep(self.life.look(Timestamp::now()));
            // A word is a wake-up and no more. Both arms are cancel-safe.
            tokio::select! {
                () = look => {}
                // Where nobody can tell any more, time goes on.
                changed = told.changed() => if changed.is_err() { sleep(SHORTEST_LOOK).await; },
            }
            if self.outdated(&told) {
                // A replica that has not read of them yet is not asked, as a rule.
                sleep(part(RENEWALS)).await;
            }
            if !self.life.renewable(Timestamp::now()) && !self.outdated(&told) {
                continue;
            }
            let mut pause = FIRST_PAUSE;
            let client = loop {
                // The same key all the time: the claim is ours, also when the certificate has ended meanwhile.
                let ended = Timestamp::now() >= self.life.until;
                let current = sender.borrow().clone();
                let made = if ended { self.issue().await } else { self.renew(current).await };
                match made {
                    Ok(client) => break client,
                    Err(error) => away.failed(&error),
                }
                sleep(jittered(pause)).await;
                pause = longer(pause);
            };
            away.well();
            tracing::info!(event = "identity_renewed", until = %self.life.until);
            sender.send_replace(client);
        }
    }

    /// The operator has other roots than came with the certificate.
    fn outdated(&self, told: &watch::Receiver<Vec<u8>>) -> bool {
        let told = told.borrow();
        !told.is_empty() && !self.mark.is_empty() && *told != self.mark
    }

    async fn issue(&mut self) -> Result<ControlClient<Channel>, Failed> {
        let path = &self.claim.token;
        let unreadable = |reason: String| Failed::Token { path: path.clone(), reason };
        let file = tokio::fs::File::open(path).await.map_err(|e| unreadable(e.to_string()))?;
        let mut token = Zeroizing::new(String::new());
        file.take(LONGEST_TOKEN).read_to_string(&mut token).await.map_err(|e| unreadable(e.to_string()))?;
        let token = token.trim();
        if token.is_empty() {
            return Err(unreadable("it is empty".to_owned()));
        }
        let mut client = EnrolmentClient::new(dial(&self.claim.operator, &self.roots, None)?);
        let request = IssueRequest { token: token.to_owned(), csr: self.csr.clone() };
        let answer = timeout(PATIENCE, client.issue(request)).await;
        self.take(answer.map(|answer| answer.map(tonic::Response::into_inner)).map_err(|_| ()))
    }

    async fn renew(&mut self, mut client: ControlClient<Channel>) -> Result<ControlClient<Channel>, Failed> {
        let request = RenewRequest { csr: self.csr.clone() };
        let answer = timeout(PATIENCE, client.renew(request)).await;
        self.take(answer.map(|answer| answer.map(tonic::Response::into_inner)).map_err(|_| ()))
    }

    /// Puts a certificate in force, or changes nothing.
    fn take(&mut self, answer: Result<Result<v1::Certificate, Status>, ()>) -> Result<ControlClient<Channel>, Failed> {
        let operator = || self.claim.operator.clone();
        let v1::Certificate { chain, roots } = match answer {
            Ok(Ok(certificate)) => certificate,
            Ok(Err(status)) if status.code() == Code::AlreadyExists => return Err(Failed::Claimed(why(&status))),
            Ok(Err(status)) => return Err(Failed::Status { operator: operator(), text: why(&status) }),
            Err(()) => return Err(Failed::Late { operator: operator() }),
        };
        if chain.len() > LONGEST_CHAIN {
            return Err(Failed::Certificate("its chain is too long"));
        }
        let leaf = chain.first().ok_or(Failed::Certificate("there is none"))?;
        let life = checked(leaf, &self.key, &self.claim.pod, Timestamp::now()).map_err(Failed::Certificate)?;
        let (roots, mark) = match roots.is_empty() {
            true => (self.roots.clone(), Vec::new()),
            false => {
                let given = Roots::new(roots.into_iter().map(CertificateDer::from).collect())?;
                let mark = given.mark();
                (given, mark)
            }
        };
        let chain: String = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let key = Zeroizing::new(self.key.serialize_pem());
        let channel = dial(&self.claim.operator, &roots, Some(Identity::from_pem(chain, key.as_str())))?;
        if roots != self.roots {
            // Without it a later start knows only what came with the pod.
            if let Err(error) = write_whole(&self.claim.saved, 0o600, roots.to_string().as_bytes()) {
                tracing::warn!(event = "roots_not_saved", path = %self.claim.saved.display(), %error);
            }
        }
        (self.life, self.roots, self.mark) = (life, roots, mark);
        Ok(ControlClient::new(channel).max_decoding_message_size(control::MESSAGE_LIMIT))
    }
}

/// The life of a certificate that is ours.
fn checked(leaf: &[u8], key: &KeyPair, pod: &PodName, now: Timestamp) -> Result<Life, &'static str> {
    let (rest, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|_| "it cannot be read")?;
    if !rest.is_empty() || leaf.public_key().raw != key.subject_public_key_info().as_slice() {
        return Err("it is over another key");
    }
    let names = leaf.subject_alternative_name().map_err(|_| "its names cannot be read")?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let [GeneralName::URI(name)] = names else { return Err("it has not exactly one name") };
    if name.parse().as_ref() != Ok(pod) {
        return Err("it names another pod");
    }
    let time =
        |at: x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).map_err(|_| "its life cannot be read");
    let life = Life { from: time(leaf.validity().not_before)?, until: time(leaf.validity().not_after)? };
    match life.until > now && life.until > life.from {
        true => Ok(life),
        false => Err("it has ended: are both clocks right?"),
    }
}

impl Life {
    /// Two thirds of it are over.
    fn renewable(self, now: Timestamp) -> bool {
        let (all, over) = (self.until.duration_since(self.from), now.duration_since(self.from));
        over.as_millis().saturating_mul(3) >= all.as_millis().saturating_mul(2)
    }

    /// How long it is enough not to look. Short lives are looked at more often.
    fn look(self, now: Timestamp) -> Duration {
        let left = Duration::try_from(self.until.duration_since(now)).unwrap_or_default();
        (left / 10).clamp(SHORTEST_LOOK, LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_renewed_by_the_wall_clock_at_two_thirds() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let life = Life { from: at(0), until: at(3600) };
        assert!(!life.renewable(at(0)) && !life.renewable(at(2399)));
        assert!(life.renewable(at(2400)) && life.renewable(at(3600)) && life.renewable(at(1_000_000)));
        assert_eq!(life.look(at(0)), LOOK);
        assert_eq!(life.look(at(3590)), Duration::from_secs(1));
        assert_eq!(life.look(at(9999)), SHORTEST_LOOK);
    }
}
