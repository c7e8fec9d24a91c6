//! The promise as a small state machine: gate, approval, recording, crash and restart, change of policy and revocation.
//!
//! It is linked into no program. Tests explore every state that it can reach, and check traces of the real gate
//! against it. What it says: no operation is upstream without a durable intent and, where policy asks for one, one
//! unspent approval for its digest under the policy in force. Refused by [`step()`] is what the gate cannot do; which
//! orders of its steps are possible is all that is modelled, not what statements mean.
//!
//! Each action stands for one place in the code; steps between which nothing that anybody else does makes a
//! difference are one action:
//!
//! | action | stands for | seen in a trace as |
//! |---|---|---|
//! | `Plan` | a session judges a text under `Desk::revision` (`inbound.rs`) | |
//! | `Decide` | `Desk::admit`: age, end of the session, `decide`; then `Desk::permit` begins and hands the intent to the writer, or `Approvals::ask` opens a request or finds the open one | `after_decide`, `before_intent`, line `requested` |
//! | `Vote`, `Expire` | approvers, `keep_time` | lines `granted`, `denied`, `expired` |
//! | `Leave` | `Desk::wait`: the hold is over, the agent gave up, the session is revoked, another standing | line `withdrawn` |
//! | `Look` | `Desk::wait` sees Approved; `Desk::after_approval`, the first `still` | |
//! | `Take` | `Approvals::consume`: the tally is used up | |
//! | `WriteUse`, `FailUse` | `Ledger::approval`: the use is on record, or cannot be | line `consumed` |
//! | `Ready` | `consume` answers, the second `still`, `Desk::permit` begins and hands the intent to the writer | `approval_consumed`, `before_intent` |
//! | `WriteIntent`, `FailIntent` | the writer: `append` (and sync) came back | line `intent` |
//! | `Slow` | `Recorder::append`: the wait is over; the line may still land | |
//! | `Permit` | the answer is `Ok`, nothing is outdated (`Desk::is_outdated`), the `Permit` is minted | `after_intent` |
//! | `Send` | `Upstream::send` spends it: from here on it counts as upstream, before any byte is | `between_intent_and_send` |
//! | `Finish` | `Running::finish`, and its line | `before_outcome`, line `outcome` |
//! | `Drop` | `Running::drop`: a permit that nobody spent, a session that died | line `outcome` |
//! | `WriteOutcome` | the writer, of what was not sent | line `outcome` |
//! | `Swap`, `Age`, `Confirm` | the snapshot of policies: another one, too old, known to be current | `policy_begins`, `policy_ends` |
//! | `Crash`, `Restart` | `kill -9`; `Writer::open` (`recover.rs`) and `take_over` (`restart.rs`) | a new process |
//!
//! Where the model is wider than the code it is so to the safe side: lines that wait are written in any order (the
//! writer keeps theirs), an operation is upstream from the spending of its permit on, and any step may be followed by
//! a change of policy or a kill. Not in it: grants (an approval that is good for more than one operation), votes and
//! quorums one by one, what a power loss takes of a level below `Synced`, and operations of our own, which no policy
//! decides.

mod bounds;
mod flaw;
mod op;
mod promise;
mod request;
mod rules;
mod state;
mod step;
pub mod trace;

pub use bounds::Bounds;
pub use flaw::Flaw;
pub use op::{End, Line, Minted, Op, OpId, Outcome, Place, Stage};
pub use promise::{Promise, Witness};
pub use request::{Request, RequestId, Standing};
pub use rules::{Digest, Revision, Rules, Verdict};
pub use state::State;
pub use step::{Action, Machine, Registry, Vote, step};
