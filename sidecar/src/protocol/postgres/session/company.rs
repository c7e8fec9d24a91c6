//! The agent while an operation waits for people: NOTICEs that name the request, and an ear for its giving up.

use std::time::Duration;

use pgcodec::Backend;
use policy::impact::Impact;
use policy::operation::Operation;
use policy::verdict::Preview;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::super::refusal::{Words, words, words_not_planned};
use super::agent::{Reader, Writer, fields};
use super::impact::Sketch;
use crate::gate::{AgentSide, Refused, Told};

/// What an agent may send ahead while it waits; more is taken as giving up.
const AHEAD: usize = 64 * 1024;

pub(super) struct Company<'a> {
    pub reader: &'a mut Reader,
    pub writer: &'a mut Writer,
    /// A cancel request with this session's key.
    pub cancel: &'a Notify,
    /// Why the statement at hand could not be planned.
    pub not_planned: Option<&'a pgsql::Refused>,
    /// For looking what it would do, where it is a statement that runs.
    pub sketch: Option<Sketch<'a>>,
}

impl AgentSide for Company<'_> {
    fn told(&self, refused: &Refused) -> Told {
        let words = self.not_planned.map_or_else(|| words(refused), |why| words_not_planned(refused, why));
        Told { code: Some(words.sqlstate.to_owned()), text: words.message }
    }

    async fn progress(&mut self, request: &str, have: u8, need: u8) {
        let mut words = Words::new(
            "00000",
            format!("waiting for approval: request {request} has {have} of {need} approvals needed"),
        );
        words.hint = Some("Cancel the query to withdraw the request.".to_owned());
        // An agent that does not read is found by `gave_up`, or by the end of the hold.
        if self.writer.put(&Backend::NoticeResponse(fields("NOTICE", &words))).is_ok() {
            let _ = timeout(Duration::from_secs(1), self.writer.flush()).await;
        }
    }

    async fn impact(&mut self, operation: &Operation, wanted: Preview) -> Impact {
        match &self.sketch {
            Some(sketch) => sketch.look(operation, wanted).await,
            None => Impact::none("only statements are looked at"),
        }
    }

    async fn gave_up(&mut self) {
        loop {
            if self.reader.closed || self.reader.framer.buffered() >= AHEAD {
                // Beyond this its hanging up could not be heard any more: it does not wait, it talks.
                return;
            }
            // Both arms are cancel-safe: what was read is in the framer, a notification that is not taken stays.
            tokio::select! {
                () = self.cancel.notified() => return,
                read = self.reader.read() => {
                    if read.is_err() || self.reader.closed {
                        self.reader.closed = true;
                        return;
                    }
                }
            }
        }
    }
}
