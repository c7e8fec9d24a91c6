//! The far ends: each has a key, a certificate for its pod and a stream, says what it has in force, and dials again when
//! its stream ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use control::v1::control_client::ControlClient;
use control::v1::{ReportRequest, Snapshot, WatchRequest, update};
use rcgen::KeyPair;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::transport::Identity;

use super::dialled::{Dialled, identity, issue};
use super::objects::{Agent, Place, each};

/// Before a stream that ended is asked for again, as the sidecar does.
const AGAIN: Duration = Duration::from_secs(1);

struct Heard {
    who: usize,
    step: u32,
    at: Instant,
}

pub(crate) struct Crowd {
    size: usize,
    heard: mpsc::Receiver<Heard>,
}

/// Of the policy for all that the snapshot holds.
fn step(snapshot: &Snapshot) -> Option<u32> {
    snapshot.objects.iter().find_map(|json| {
        let text = std::str::from_utf8(json).ok()?;
        text.split_once("step-")?.1.split_once('.')?.0.parse().ok()
    })
}

impl Crowd {
    /// Every agent's sidecar is let in, and was told what counts.
    /// Whoever finds one replica gone dials another one, as the Service's address leads it.
    pub(crate) async fn enrol(replicas: &[Dialled], place: &Arc<Place>) -> Self {
        let (sender, heard) = mpsc::channel(1_024);
        let mut crowd = Self { size: place.agents.len(), heard };
        let all = place.agents.iter().cloned().enumerate();
        let enrolled = each(all.map(|(who, agent)| {
            let (mut replicas, place, sender) = (replicas.to_vec(), Arc::clone(place), sender.clone());
            let first = who % replicas.len();
            replicas.rotate_left(first);
            async move {
                let identity = enrol(&replicas[0], &place, &agent).await;
                tokio::spawn(follow(replicas, identity, who, sender));
            }
        }));
        let (_, told) = tokio::join!(enrolled, crowd.told(0, Duration::from_secs(600)));
        assert_eq!(told.len(), crowd.size);
        crowd
    }

    /// When each of them first heard of the step.
    pub(crate) async fn told(&mut self, step: u32, within: Duration) -> Vec<Instant> {
        let mut first = vec![None; self.size];
        let mut missing = self.size;
        let deadline = Instant::now() + within;
        while missing > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let heard = timeout(left, self.heard.recv()).await.ok().flatten();
            assert!(heard.is_some(), "{missing} of {} have not heard of step {step} in {within:?}", self.size);
            let heard = heard.unwrap();
            if heard.step == step && first[heard.who].replace(heard.at).is_none() {
                missing -= 1;
            }
        }
        first.into_iter().flatten().collect()
    }
}

async fn enrol(dialled: &Dialled, place: &Place, agent: &Agent) -> Identity {
    let (key, token) = (KeyPair::generate().unwrap(), place.token(agent).await);
    let mut tries = 0;
    loop {
        match issue(dialled, &token, &key).await {
            Ok(certificate) => return identity(&certificate, &key),
            // The pod is not yet among those that the operator watches, or too many ask.
            Err(status) => {
                tries += 1;
                assert!(tries < 20, "{}: {status}", agent.name);
                sleep(AGAIN).await;
            }
        }
    }
}

async fn follow(replicas: Vec<Dialled>, identity: Identity, who: usize, sender: mpsc::Sender<Heard>) {
    let mut in_force = String::new();
    for dialled in replicas.iter().cycle() {
        // What ended it does not matter: it dials again.
        let _ = once(dialled, &identity, who, &sender, &mut in_force).await;
        if sender.is_closed() {
            return;
        }
        sleep(AGAIN).await;
    }
}

async fn once(
    dialled: &Dialled,
    identity: &Identity,
    who: usize,
    sender: &mpsc::Sender<Heard>,
    in_force: &mut String,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut client = ControlClient::new(dialled.dial(Some(identity.clone())).await?);
    let mut updates = client.watch(WatchRequest { in_force: in_force.clone() }).await?.into_inner();
    while let Some(update) = updates.message().await? {
        let Some(update::Update::Snapshot(snapshot)) = update.update else { continue };
        let at = Instant::now();
        in_force.clone_from(&snapshot.revision);
        if let Some(step) = step(&snapshot) {
            sender.send(Heard { who, step, at }).await?;
        }
        // Too soon after another one: the sidecar says it with the next one, too.
        let _ = client.report(ReportRequest { in_force: snapshot.revision, used: Vec::new() }).await;
    }
    Ok(())
}
