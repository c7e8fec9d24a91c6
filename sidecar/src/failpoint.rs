//! Named points where a crash test kills the process. Without the feature `failpoints` they compile to nothing, and
//! the variable that names one is not read.
//!
//! A test may also look on: `AGENTACCESS_TRACE` names a file to which the points of the gate are appended as they are
//! passed, and each line of the recording as its append comes back. One order for both: what the model is held against.

#[cfg(feature = "failpoints")]
mod storage;
#[cfg(feature = "failpoints")]
mod trace;

use std::sync::Arc;

#[cfg(not(feature = "failpoints"))]
use policy::operation::{Operation, Revision};
#[cfg(not(feature = "failpoints"))]
use policy::verdict::Verdict;
use recording::{FsStorage, Storage};

#[cfg(not(feature = "failpoints"))]
use crate::gate::Stage;
#[cfg(not(feature = "failpoints"))]
use crate::recorder::OpRef;

#[cfg(feature = "failpoints")]
pub(crate) use trace::{decided, policy, step};

/// Kills the process with SIGKILL when `AGENTACCESS_FAILPOINT` names this point (`NAME` or `NAME:N` for the Nth pass).
#[cfg(feature = "failpoints")]
pub(crate) fn failpoint(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if wanted(name).is_some_and(|nth| PASSED.fetch_add(1, Ordering::SeqCst) + 1 == nth) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::sleep(std::time::Duration::from_secs(5));
    }
}

/// At which pass of this point to die, when it is the one that was asked for.
#[cfg(feature = "failpoints")]
fn wanted(name: &str) -> Option<u64> {
    let wanted = std::env::var("AGENTACCESS_FAILPOINT").ok()?;
    let (point, nth) = wanted.split_once(':').map_or((wanted.as_str(), 1), |(p, n)| (p, n.parse().unwrap_or(1)));
    (point == name).then_some(nth)
}

/// What to write next: half of it when this point is the one that was asked for, so that a pass lies inside a message.
#[cfg(feature = "failpoints")]
pub(crate) fn part<'a>(name: &str, bytes: &'a [u8]) -> &'a [u8] {
    let half = if wanted(name).is_some() { bytes.len().div_ceil(2) } else { bytes.len() };
    bytes.get(..half).unwrap_or(bytes)
}

/// The storage of the recording, with `mid_rotate` in it.
#[cfg(feature = "failpoints")]
pub(crate) fn storage(inner: FsStorage) -> Arc<dyn Storage> {
    storage::wrap(inner)
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn failpoint(_name: &str) {}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn part<'a>(_name: &str, bytes: &'a [u8]) -> &'a [u8] {
    bytes
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn storage(inner: FsStorage) -> Arc<dyn Storage> {
    Arc::new(inner)
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn step(_name: &str, _op: &OpRef) {}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn decided(_op: &OpRef, _operation: &Operation, _stage: Stage<'_>, _verdict: &Verdict) {}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn policy(_when: &str, _revision: Revision) {}
