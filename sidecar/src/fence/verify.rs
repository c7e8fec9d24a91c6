//! `agentaccess-sidecar verify`: proves the fence from inside, as a user that it has to hold.
//!
//! It waits for the sidecar to take calls, which it does when policy is in force and the files for the agent are written:
//! so no probe of the kubelet, which would cost the start of each pod a second or two, has to. Each probe of ours is one
//! thing that must land in the sidecar, or one that must not leave. Invariant: `Ok` means that every probe ended as it
//! has to, within 1.5 s; one that did not end counts as a surprise. Not seen from inside are the rules that let the
//! sidecar itself out and those for packets from outside.

use std::fmt;
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use self::network::Network;
use super::probe::Nonce;

mod begun;
mod identity;
mod lands;
mod network;
mod refused;

/// After which what has no answer has failed. Only failures take it: the fence itself answers at once.
const CAP: Duration = Duration::from_millis(1_500);
/// A probe gives up a little earlier, so that it can say what it waited for.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// A probe is a few calls.
const STACK: usize = 256 << 10;

/// What is to be proven.
#[derive(Clone, Debug)]
pub struct Verify {
    /// The user that only the sidecar runs as.
    pub user: u32,
    pub nonce: Nonce,
    /// How long the sidecar may take to begin.
    pub wait: Duration,
}

/// One sentence for each thing that was not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotProven(pub Vec<String>);

impl fmt::Display for NotProven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fence does not hold")?;
        self.0.iter().try_for_each(|surprise| write!(f, "\n  {surprise}"))
    }
}

/// Says what it tried, and what came of it.
struct Probe {
    what: String,
    run: Box<dyn FnOnce(Instant) -> Result<(), String> + Send>,
}

impl Verify {
    /// Runs every probe, at the same time; tells how many there were.
    ///
    /// # Errors
    /// Every surprise; then no further container of the pod may start.
    pub fn run(&self) -> Result<usize, NotProven> {
        // As the sidecar's user, or with a capability, nothing below would mean anything.
        identity::check(self.user).map_err(NotProven)?;
        let network = Network::look().map_err(|surprise| NotProven(vec![surprise]))?;
        let late = begun::wait(&network, self.wait).err();
        let mut probes = lands::probes(&self.nonce, &network);
        probes.extend(refused::probes(&network));
        let count = probes.len();
        let surprises: Vec<String> = late.into_iter().chain(all(probes)).collect();
        if surprises.is_empty() { Ok(count) } else { Err(NotProven(surprises)) }
    }
}

/// A thread for each; what has not ended when the time is over is left behind.
fn all(probes: Vec<Probe>) -> Vec<String> {
    let begun = Instant::now();
    let (give_up, end) = (begun + PATIENCE, begun + CAP);
    let (sender, receiver) = sync_channel(probes.len());
    let mut open: Vec<Option<String>> = Vec::new();
    let mut surprises = Vec::new();
    for (number, Probe { what, run }) in probes.into_iter().enumerate() {
        let sender = sender.clone();
        let job = move || drop(sender.send((number, run(give_up))));
        match thread::Builder::new().stack_size(STACK).spawn(job) {
            Ok(_) => open.push(Some(what)),
            Err(error) => {
                surprises.push(format!("{what}: not tried, no thread can be started: {error}"));
                open.push(None);
            }
        }
    }
    drop(sender);
    // Ends when the time is over, and when every thread has ended.
    while let Ok((number, outcome)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        let what = open.get_mut(number).and_then(Option::take).unwrap_or_default();
        surprises.extend(outcome.err().map(|text| format!("{what}: {text}")));
    }
    // A probe that panicked is among these too.
    surprises.extend(open.into_iter().flatten().map(|what| format!("{what}: no answer within {CAP:?}")));
    surprises
}

/// What is left of the time of a probe; never zero, which sockets take for "for ever".
fn left(give_up: Instant) -> Duration {
    give_up.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The kernel has no way to such an address: nothing was sent.
fn no_way(error: &io::Error) -> bool {
    let none = [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT, Errno::NETDOWN];
    errno(error).is_some_and(|errno| none.contains(&errno))
}

/// The kernel knows no such protocol: nobody here can use it.
fn unknown_protocol(error: &io::Error) -> bool {
    let none = [Errno::PROTONOSUPPORT, Errno::NOPROTOOPT, Errno::AFNOSUPPORT, Errno::SOCKTNOSUPPORT, Errno::INVAL];
    errno(error).is_some_and(|errno| none.contains(&errno))
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(what: &str, run: impl FnOnce(Instant) -> Result<(), String> + Send + 'static) -> Probe {
        Probe { what: what.to_owned(), run: Box::new(run) }
    }

    #[test]
    fn what_fails_panics_or_hangs_is_a_surprise_and_is_waited_for_once() {
        let begun = Instant::now();
        let surprises = all(vec![
            probe("good", |_| Ok(())),
            probe("bad", |_| Err("it left".to_owned())),
            probe("slow", |_| {
                thread::sleep(Duration::from_secs(20));
                Ok(())
            }),
            probe("slow too", |_| {
                thread::sleep(Duration::from_secs(20));
                Ok(())
            }),
            probe("broken", |_| panic!("a mistake")),
        ]);
        assert!(begun.elapsed() < CAP * 2, "{:?}", begun.elapsed());
        let late = |what: &str| format!("{what}: no answer within {CAP:?}");
        assert_eq!(surprises, ["bad: it left".to_owned(), late("slow"), late("slow too"), late("broken")]);
        assert!(all(vec![probe("good", |_| Ok(()))]).is_empty());
    }
}
