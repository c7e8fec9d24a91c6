//! `approve.sock`: approvers and the sidecar talk in lines of JSON (`crds::local`).
//!
//! Who calls is what the kernel says (SO_PEERCRED), never what the call says. Others are refused before a byte of
//! theirs is read. Every read and write has a deadline, every line a bound, and few may call at the same time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crds::approval::ApprovalRequest;
use crds::local::{LocalAnswer, LocalCall};
use policy::redact::remark;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::LocalApprovals;
use super::request::cut;
use crate::listen::unix;

/// Longest line each way, its line break included.
const LINE: usize = 64 * 1024;
const CALLERS: usize = 16;
/// Of the callers, so that those who watch never keep away those who decide.
const WATCHERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);
const MODE: u32 = 0o660;

pub type SocketError = unix::UnixError;

type Lines = BufReader<OwnedReadHalf>;

/// The caller is gone or too slow, or sent what is not a call.
struct Gone;

// === impl LocalApprovals ===

impl LocalApprovals {
    /// Opens the socket and serves it until the runtime ends.
    pub fn listen(&self, path: &Path, group: Option<u32>) -> Result<(), SocketError> {
        let listener = unix::bind(path, MODE, group)?;
        crate::vital::spawn("approve.sock", accept(self.clone(), listener));
        Ok(())
    }

    async fn serve(self, stream: UnixStream, uid: u32, watchers: Arc<Semaphore>) -> Result<(), Gone> {
        let (read, mut write) = stream.into_split();
        if self.approver(uid).is_none() {
            let message = self.unlisted(uid, "use approve.sock");
            return send(&mut write, &LocalAnswer::Refused { message }).await;
        }
        let mut lines = BufReader::new(read);
        while let Some(call) = next(&mut lines, &mut write).await? {
            match call {
                LocalCall::List => send(&mut write, &requests(self.list())).await?,
                LocalCall::Decide { name, decision, reason } => {
                    let answer = match self.decide(uid, &name, decision, reason.as_deref()).await {
                        Ok((item, message)) => LocalAnswer::Decided { item: Box::new(item), message },
                        Err(message) => LocalAnswer::Refused { message },
                    };
                    send(&mut write, &answer).await?;
                }
                LocalCall::Watch => match watchers.try_acquire_owned() {
                    Ok(_place) => return self.watch(&mut lines, &mut write).await,
                    Err(_) => {
                        let message =
                            format!("{WATCHERS} others watch already: end one of them, or use `approvals ls`");
                        return send(&mut write, &LocalAnswer::Refused { message }).await;
                    }
                },
            }
        }
        Ok(())
    }

    /// Until the caller hangs up or says anything more.
    async fn watch(&self, lines: &mut Lines, write: &mut OwnedWriteHalf) -> Result<(), Gone> {
        let mut changes = self.inner.changes.subscribe();
        send(write, &requests(self.list())).await?;
        let mut byte = [0; 1];
        loop {
            // Both arms are cancel-safe: `recv` loses no change, and whatever `read` gets ends the watch.
            let change = tokio::select! {
                change = changes.recv() => change,
                _ = lines.read(&mut byte) => return Ok(()),
            };
            match change {
                Ok(item) => send(write, &LocalAnswer::Request { item: Box::new(item.as_ref().clone()) }).await?,
                // It was too slow to hear each change: all of them, once.
                Err(RecvError::Lagged(_)) => send(write, &requests(self.list())).await?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

async fn accept(approvals: LocalApprovals, listener: UnixListener) {
    let (callers, watchers) = (Arc::new(Semaphore::new(CALLERS)), Arc::new(Semaphore::new(WATCHERS)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(event = "accept_failed", listener = "approve.sock", %error);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Over the limit, or without a known peer: closed at once.
        let Ok(place) = Arc::clone(&callers).try_acquire_owned() else { continue };
        let Ok(peer) = stream.peer_cred() else { continue };
        let (approvals, watchers) = (approvals.clone(), Arc::clone(&watchers));
        tokio::spawn(async move {
            let _place = place;
            // A caller that is gone needs no answer.
            let _ = approvals.serve(stream, peer.uid(), watchers).await;
        });
    }
}

async fn next(lines: &mut Lines, write: &mut OwnedWriteHalf) -> Result<Option<LocalCall>, Gone> {
    let mut line = Vec::new();
    let most = u64::try_from(LINE).unwrap_or(u64::MAX);
    let mut bounded = lines.take(most);
    timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await.map_err(|_| Gone)?.map_err(|_| Gone)?;
    if line.is_empty() {
        return Ok(None);
    }
    let message = match serde_json::from_slice(&line) {
        Ok(call) => return Ok(Some(call)),
        Err(_) if line.len() >= LINE => format!("a line has at most {LINE} bytes"),
        Err(error) => format!("this is not a call: {error}"),
    };
    send(write, &LocalAnswer::Refused { message }).await?;
    Err(Gone)
}

async fn send(write: &mut OwnedWriteHalf, answer: &LocalAnswer) -> Result<(), Gone> {
    let mut line = fitting(answer);
    line.push(b'\n');
    timeout(PATIENCE, write.write_all(&line)).await.map_err(|_| Gone)?.map_err(|_| Gone)
}

fn requests(items: Vec<ApprovalRequest>) -> LocalAnswer {
    LocalAnswer::Requests { items }
}

/// One line within its bound. Long statements are cut, the whole is in `requests/`; then the oldest are left out.
fn fitting(answer: &LocalAnswer) -> Vec<u8> {
    let mut answer = answer.clone();
    for most in [usize::MAX, 16 * 1024, 4 * 1024, 1024, 256] {
        match &mut answer {
            LocalAnswer::Requests { items } => items.iter_mut().for_each(|item| shorten(item, most)),
            LocalAnswer::Request { item } | LocalAnswer::Decided { item, .. } => shorten(item, most),
            LocalAnswer::Refused { message } => *message = cut(message, most),
        }
        let line = serde_json::to_vec(&answer).unwrap_or_default();
        if line.len() < LINE {
            return line;
        }
    }
    while let LocalAnswer::Requests { items } = &mut answer
        && serde_json::to_vec(&items).is_ok_and(|line| line.len() + 100 >= LINE)
    {
        items.truncate(items.len().saturating_mul(3) / 4);
    }
    serde_json::to_vec(&answer).unwrap_or_default()
}

fn shorten(item: &mut ApprovalRequest, most: usize) {
    if most == usize::MAX {
        return;
    }
    let whole = item.spec.statement.chars().count();
    if whole > most {
        let name = item.metadata.name.as_deref().unwrap_or_default();
        let note = format!(" {}", remark(&format!("cut: {whole} characters; the whole is in requests/{name}.yaml")));
        item.spec.statement = cut(&item.spec.statement, most) + &note;
    }
    item.spec.action.resources.truncate(16);
}
