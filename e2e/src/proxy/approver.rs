//! Approvers without the CLI: lines of JSON over `approve.sock`, as the user that the test says.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use serde_json::{Value, json};

use super::{ALICE, Sidecar};
use crate::wait;

const PATIENCE: Duration = Duration::from_secs(10);

impl Sidecar {
    /// One call as the user with this uid (as ourselves when we are not root), and its answer.
    ///
    /// # Errors
    /// When the socket cannot be reached or does not answer in time.
    pub fn call_as(&self, uid: u32, call: &Value) -> Result<Value> {
        let socket = self.state().join("approve.sock");
        let line = format!("{call}\n");
        let talk = move || -> Result<Value> {
            if rustix::process::getuid().is_root() {
                // Of this thread alone, which ends with the call: the kernel keeps credentials by thread.
                let uid = Uid::from_raw(uid);
                set_thread_res_uid(uid, uid, uid)?;
            }
            let mut stream = UnixStream::connect(&socket).with_context(|| socket.display().to_string())?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // Somebody who may not call is refused before we are heard.
            let _refused = stream.write_all(line.as_bytes());
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            serde_json::from_str(&answer).with_context(|| format!("`{answer}` is no answer"))
        };
        thread::spawn(talk).join().map_err(|_| anyhow!("the calling thread panicked"))?
    }

    /// One vote: `approve`, `deny` or `revoke`. The answer says `decided` or `refused`.
    ///
    /// # Errors
    /// As [`Sidecar::call_as`].
    pub fn vote(&self, uid: u32, name: &str, decision: &str) -> Result<Value> {
        self.call_as(uid, &json!({"do": "decide", "name": name, "decision": decision, "reason": "a test"}))
    }

    /// All requests, as ApprovalRequest objects.
    ///
    /// # Errors
    /// As [`Sidecar::call_as`].
    pub fn requests(&self) -> Result<Vec<Value>> {
        let answer = self.call_as(ALICE, &json!({"do": "list"}))?;
        answer.get("items").and_then(Value::as_array).cloned().with_context(|| format!("{answer} is no list"))
    }

    /// The request with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn request(&self, name: &str) -> Result<Value> {
        let found = self.requests()?.into_iter().find(|item| text(item, "/metadata/name") == Some(name));
        found.with_context(|| format!("no request {name}"))
    }

    /// Waits until a request whose statement contains `part` is pending, and gives its name.
    ///
    /// # Errors
    /// When there is none in time, with the sidecar's log.
    pub fn asked(&self, part: &str, within: Duration) -> Result<String> {
        let name = wait::until(&format!("a request for `{part}`"), within, || {
            Ok(self.requests()?.into_iter().find_map(|item| {
                let asks = text(&item, "/spec/statement").is_some_and(|statement| statement.contains(part));
                let name = text(&item, "/metadata/name")?;
                (asks && text(&item, "/status/phase") == Some("Pending")).then(|| name.to_owned())
            }))
        });
        name.with_context(|| self.log())
    }
}

fn text<'a>(item: &'a Value, place: &str) -> Option<&'a str> {
    item.pointer(place)?.as_str()
}
