//! The rows of a COPY FROM STDIN, under the grant that its statement opened, up to a cap.

use bytes::Bytes;
use pgcodec::{Expect, Frontend};

use super::super::refusal::Words;
use super::{End, Session, encoded};

/// A COPY FROM STDIN longer than this is ended.
pub(super) const COPY_IN_BYTES: u64 = 1 << 30;

impl Session {
    pub(super) fn copy_data(&mut self, data: &Bytes) -> Result<(), End> {
        let frame = encoded(&Frontend::CopyData(data.clone()))?;
        let Some((token, grant)) = &mut self.stream else {
            return Err(End::Caught("an internal check failed", "copy data without a stream".into()));
        };
        if self.upstream.stream(grant, &frame, data).is_ok() {
            return Ok(());
        }
        if let Some(flight) = self.flights.get_mut(token) {
            flight.refused = Some(Words::new("54000", format!("COPY FROM STDIN is longer than {COPY_IN_BYTES} bytes")));
        }
        match self.machine.copy_fail() {
            Some(control) => self.control(&control),
            None => Err(End::Caught("an internal check failed", "copy data outside a copy".into())),
        }
    }

    pub(super) fn copy_end(&mut self, message: &Frontend) -> Result<(), End> {
        let frame = encoded(message)?;
        let Some((token, mut grant)) = self.stream.take() else {
            return Err(End::Caught("an internal check failed", "end of a copy without a stream".into()));
        };
        // The end of the stream has no content, so no cap can refuse it.
        let ended = self.upstream.stream(&mut grant, &frame, &[]);
        if let Some(flight) = self.flights.get_mut(&token) {
            flight.stream_digest = Some(grant.digest());
        }
        ended.map_err(|over| End::Caught("an internal check failed", over.to_string()))?;
        self.machine.sent(Expect::CopyEnd).map_err(End::Upstream)
    }
}
