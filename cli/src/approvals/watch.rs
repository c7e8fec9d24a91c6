//! `approvals watch`: of a sidecar as it tells it, of a cluster by looking again and again.

use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use crds::approval::{ApprovalRequest, Phase};
use crds::local::{LocalAnswer, LocalCall};

use super::remote::Remote;
use super::socket::Socket;
use super::{phase, show};
use crate::screen::{Screen, line};

/// Between two looks at a cluster.
const LOOK: Duration = Duration::from_secs(2);
/// Looks in a row that may fail before it ends.
const FAILURES: u32 = 5;

pub(super) fn sidecar(state: &Path, screen: &mut Screen) -> Result<()> {
    let mut socket = Socket::connect(state)?;
    socket.send(&LocalCall::Watch)?;
    let mut first = true;
    loop {
        match socket.wait()? {
            LocalAnswer::Requests { items } => {
                let open: Vec<_> = items.into_iter().filter(|item| phase(item) == Phase::Pending).collect();
                begun(screen, first && open.is_empty())?;
                first = false;
                open.iter().try_for_each(|item| changed(screen, item, false))?;
            }
            LocalAnswer::Request { item } => changed(screen, &item, false)?,
            LocalAnswer::Refused { message } => bail!("{message}"),
            LocalAnswer::Decided { .. } => bail!("the sidecar gave an answer to another question"),
        }
    }
}

/// What is seen of each request: a change of its phase, its votes or its use is told.
pub(super) fn cluster(remote: &Remote, screen: &mut Screen) -> Result<()> {
    let mut known = look(remote.list()?);
    let mut open: Vec<&ApprovalRequest> = known.values().filter(|item| phase(item) == Phase::Pending).collect();
    open.sort_by_key(|item| item.metadata.creation_timestamp.as_ref().map(|t| t.0));
    begun(screen, open.is_empty())?;
    open.into_iter().try_for_each(|item| changed(screen, item, true))?;
    let mut failures = 0;
    loop {
        thread::sleep(LOOK);
        let now = match remote.list() {
            Ok(items) => look(items),
            Err(error) if failures < FAILURES => {
                if failures == 0 {
                    screen.remark(&format!("{error:#}; looking again"));
                }
                failures += 1;
                continue;
            }
            Err(error) => return Err(error).context("the cluster has not answered for a while"),
        };
        failures = 0;
        for (uid, item) in &now {
            if known.get(uid).is_none_or(|before| before.status != item.status) {
                changed(screen, item, true)?;
            }
        }
        for (_, gone) in known.iter().filter(|(uid, _)| !now.contains_key(*uid)) {
            if !screen.json() {
                screen.say(&format!("{}  gone", line(super::named(gone))))?;
            }
        }
        known = now;
    }
}

/// By uid.
fn look(items: Vec<ApprovalRequest>) -> HashMap<String, ApprovalRequest> {
    items.into_iter().map(|item| (item.metadata.uid.clone().unwrap_or_default(), item)).collect()
}

fn begun(screen: &mut Screen, nothing: bool) -> Result<()> {
    if nothing && !screen.json() { screen.say("no request waits; watching") } else { Ok(()) }
}

fn changed(screen: &mut Screen, item: &ApprovalRequest, cluster: bool) -> Result<()> {
    if screen.json() { screen.say_json(item) } else { show::say_change(screen, item, cluster) }
}
