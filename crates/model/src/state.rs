//! All that there is at one moment: the process, its policy, operations, requests, and what is on record of them.

use crate::op::{Op, OpId, Place};
use crate::request::{Request, RequestId};
use crate::rules::Revision;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Whether the process runs.
    pub up: bool,
    /// Starts of the process before this one.
    pub life: u8,
    /// The policy in force.
    pub policy: Revision,
    /// It was not known to be current for too long.
    pub aged: bool,
    pub ops: Vec<Op>,
    pub requests: Vec<Request>,
    /// Changes of policy so far, for bounds alone.
    pub swaps: u8,
}

impl State {
    pub fn new(policy: Revision) -> Self {
        Self { up: true, life: 0, policy, aged: false, ops: Vec::new(), requests: Vec::new(), swaps: 0 }
    }

    pub fn op(&self, id: OpId) -> Option<&Op> {
        self.ops.get(usize::from(id.0))
    }

    pub(crate) fn op_mut(&mut self, id: OpId) -> Option<&mut Op> {
        self.ops.get_mut(usize::from(id.0))
    }

    pub fn request(&self, id: RequestId) -> Option<&Request> {
        self.requests.get(usize::from(id.0))
    }

    pub(crate) fn request_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.requests.get_mut(usize::from(id.0))
    }

    pub fn op_ids(&self) -> impl Iterator<Item = OpId> + use<> {
        (0..u16::try_from(self.ops.len()).unwrap_or(u16::MAX)).map(OpId)
    }

    pub fn request_ids(&self) -> impl Iterator<Item = RequestId> + use<> {
        (0..u16::try_from(self.requests.len()).unwrap_or(u16::MAX)).map(RequestId)
    }

    /// As bounds have it a session does one thing at a time: what was sent only waits for its end.
    pub fn is_busy(&self, session: u16) -> bool {
        let busy = |op: &Op| op.session == session && !op.has_ended() && op.place != Place::Sent;
        self.ops.iter().any(busy)
    }

    /// The open request for exactly this.
    pub(crate) fn open_for(&self, same: impl Fn(&Request) -> bool) -> Option<RequestId> {
        self.request_ids().find(|id| self.request(*id).is_some_and(|r| r.standing.is_open() && same(r)))
    }
}
