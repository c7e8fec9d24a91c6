//! The protocol's side of the gate: how the agent is kept company, and in which words it is refused.

use policy::impact::Impact;
use policy::operation::Operation;
use policy::verdict::Preview;

use super::refusal::Refused;

/// What the gate needs of a protocol.
pub trait AgentSide: Send {
    /// The words of this protocol for a refusal; they are recorded as what the agent was told.
    fn told(&self, refused: &Refused) -> Told;
    /// Tells the agent that `request` waits with `have` of `need` approvals.
    fn progress(&mut self, request: &str, have: u8, need: u8) -> impl Future<Output = ()> + Send;
    /// Finds out for people what the operation would do. It changes nothing, and what it cannot find out it says.
    fn impact(&mut self, _operation: &Operation, _wanted: Preview) -> impl Future<Output = Impact> + Send {
        async { Impact::none("this is not known beforehand") }
    }
    /// Resolves when the agent cancels or hangs up. Cancel-safe: it is dropped and asked again.
    fn gave_up(&mut self) -> impl Future<Output = ()> + Send;
}

/// What the agent is told, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The protocol's code, for Postgres the SQLSTATE.
    pub code: Option<String>,
    pub text: String,
}
