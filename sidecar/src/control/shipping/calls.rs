//! The calls, each with a deadline, and what their answers must be.

use std::time::Duration;

use control::v1::{
    BeginRecordingRequest, CountersignRequest, RecordingStanding, ReplicateRequest, Replicated, SegmentPart,
};
use control::{SEGMENT_LIMIT, SEGMENT_PART};
use recording::chain::Hash;
use recording::note::SignedNote;
use recording::outgoing::Proof;
use recording::tail::End;
use tokio::time::timeout;

use super::failed::Failed;
use crate::control::line::Line;

/// For one answer; longer than the operator takes to say that it is late.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same where operations wait: twice as long as they do, so that a call that hangs is given up soon after them.
const IMPATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Calls {
    pub(super) line: Line,
    pub(super) key: String,
}

/// How many entries are outside of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) countersigned: u64,
    pub(super) stored: u64,
}

impl From<RecordingStanding> for Standing {
    fn from(RecordingStanding { countersigned, stored }: RecordingStanding) -> Self {
        Self { countersigned, stored }
    }
}

impl Calls {
    pub(super) async fn begin(&mut self) -> Result<Standing, Failed> {
        let request = BeginRecordingRequest { key: self.key.clone() };
        let answer = timeout(PATIENCE, self.line.client().begin_recording(request)).await;
        Ok(answer.map_err(|_| Failed::late())??.into_inner().into())
    }

    pub(super) async fn countersign(&mut self, from: u64, proof: Proof) -> Result<(), Failed> {
        let Proof { note, hashes, .. } = proof;
        let ours = SignedNote::parse(&note).ok_or(Failed::Answer("to a checkpoint of ours that is none"))?;
        let hashes = hashes.iter().flat_map(|hash| hash.0).collect();
        let request = CountersignRequest { note, hashes, from };
        let answer = timeout(PATIENCE, self.line.client().countersign(request)).await;
        let note = answer.map_err(|_| Failed::late())??.into_inner().note;
        match SignedNote::parse(&note) {
            Some(theirs) if theirs.text() == ours.text() && theirs.signatures() > ours.signatures() => Ok(()),
            _ => Err(Failed::Answer("not the checkpoint with one signature more")),
        }
    }

    pub(super) async fn keep(&mut self, segment: Vec<u8>) -> Result<Standing, Failed> {
        let parts = segment.len().div_ceil(SEGMENT_PART);
        let parts = (0..parts).map(move |at| {
            let from = at.saturating_mul(SEGMENT_PART);
            let rest = segment.get(from..).unwrap_or_default();
            SegmentPart { data: rest.chunks(SEGMENT_PART).next().unwrap_or_default().to_vec() }
        });
        let answer = timeout(PATIENCE, self.line.client().keep(tokio_stream::iter(parts))).await;
        Ok(answer.map_err(|_| Failed::late())??.into_inner().into())
    }

    /// Without lines: how far it has come.
    pub(super) async fn replicate(&mut self, from: u64, lines: Vec<u8>) -> Result<End, Failed> {
        let request = ReplicateRequest { from, lines };
        let answer = timeout(IMPATIENCE, self.line.client().replicate(request)).await;
        let Replicated { size, last } = answer.map_err(|_| Failed::late())??.into_inner();
        let last = last.try_into().map_err(|_| Failed::Answer("no hash of a line"))?;
        Ok(End { size, last: Hash(last) })
    }
}

/// Longest segment that is sent.
pub(super) fn segment_limit() -> u64 {
    u64::try_from(SEGMENT_LIMIT).unwrap_or(u64::MAX)
}
