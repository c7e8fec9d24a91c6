//! Our half of `approve.sock`: lines of JSON (`crds::local`). Who we are is what the kernel says of us.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crds::local::{LocalAnswer, LocalCall};

/// Longest line each way.
const LINE: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(
        "no sidecar answers at `{}`: start it, or give its state directory with --state-dir; for the requests of a cluster give --cluster",
        .0.display()
    )]
    Away(PathBuf),
    #[error(
        "uid {uid} may not reach `{}`: run this as an approver who is in the group of that socket (`approverGroup` in agentaccess.yaml)",
        path.display()
    )]
    Forbidden { path: PathBuf, uid: u32 },
    #[error("the path `{}` is too long for a socket: use a shorter state directory", .0.display())]
    TooLong(PathBuf),
    #[error("the sidecar cannot be asked over `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the sidecar hung up: it was stopped, or too many approvers are connected; try again")]
    HungUp,
    #[error("the sidecar gave an answer that is not understood ({0}): use the agentaccess of its version")]
    Answer(String),
}

pub(crate) struct Socket {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Socket {
    pub(crate) fn connect(state: &Path) -> Result<Self, CallError> {
        let path = state.join("approve.sock");
        match UnixStream::connect(&path) {
            Ok(stream) => {
                let io = |source| CallError::Io { path: path.clone(), source };
                stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
                stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
                Ok(Self { path, stream: BufReader::new(stream) })
            }
            Err(e) => Err(match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CallError::Away(path),
                io::ErrorKind::PermissionDenied => {
                    CallError::Forbidden { path, uid: rustix::process::geteuid().as_raw() }
                }
                io::ErrorKind::InvalidInput => CallError::TooLong(path),
                _ => CallError::Io { path, source: e },
            }),
        }
    }

    /// One question, one answer.
    pub(crate) fn ask(&mut self, call: &LocalCall) -> Result<LocalAnswer, CallError> {
        // Who may not ask is told so at once, and then nobody reads the question: the answer counts.
        let sent = self.send(call);
        match (self.next(), sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        }
    }

    pub(crate) fn send(&mut self, call: &LocalCall) -> Result<(), CallError> {
        let mut line = serde_json::to_vec(call).map_err(|e| CallError::Answer(e.to_string()))?;
        line.push(b'\n');
        let sent = self.stream.get_mut().write_all(&line);
        sent.map_err(|source| CallError::Io { path: self.path.clone(), source })
    }

    /// The next answer, however long it takes.
    pub(crate) fn wait(&mut self) -> Result<LocalAnswer, CallError> {
        let forever = self.stream.get_ref().set_read_timeout(None);
        forever.map_err(|source| CallError::Io { path: self.path.clone(), source })?;
        self.next()
    }

    fn next(&mut self) -> Result<LocalAnswer, CallError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE).read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.last() != Some(&b'\n') => Err(CallError::HungUp),
            Ok(_) => serde_json::from_slice(&line).map_err(|e| CallError::Answer(e.to_string())),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Err(CallError::HungUp),
            Err(source) => Err(CallError::Io { path: self.path.clone(), source }),
        }
    }
}
