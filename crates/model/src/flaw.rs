//! Gates that are wrong in one way each. The checker has to find a broken promise in all of them, or it proves nothing.

/// What a gate does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// The permit is minted when the writer has the intent, not when it is durable.
    PermitBeforeDurable,
    /// What cannot be recorded is let through.
    PermitUnrecorded,
    /// The approval is taken after the operation was sent.
    UseAfterSend,
    /// Whether it is approved is seen when the wait ends, and not again when it is taken.
    UseUnchecked,
    /// A request for another operation is as good.
    AnyDigest,
    /// A request that was asked under another policy is as good.
    AnyRevision,
    /// The registry reads its requests back after a restart, without their uses.
    KeptOverRestart,
    /// Policy is asked when the statement is planned, and then no more.
    PolicyAtPlanning,
    /// After the approval nobody decides again, neither before nor after it is used, nor after the intent.
    NoLookAfterApproval,
    /// Nobody looks whether policy changed while the intent was recorded.
    NoLookAfterIntent,
    /// The age of the policy is asked when the operation comes, and not after a wait.
    AgeAtTheBegin,
    /// More rows of an operation are let through whatever policy is in force.
    ContinueUnderAnyPolicy,
    /// A start does not say what was open when the process was killed.
    ForgetsUnfinished,
    /// The outcome of what was not recorded in time is written twice.
    TwoOutcomes,
}

impl Flaw {
    pub const ALL: [Self; 14] = [
        Self::PermitBeforeDurable,
        Self::PermitUnrecorded,
        Self::UseAfterSend,
        Self::UseUnchecked,
        Self::AnyDigest,
        Self::AnyRevision,
        Self::KeptOverRestart,
        Self::PolicyAtPlanning,
        Self::NoLookAfterApproval,
        Self::NoLookAfterIntent,
        Self::AgeAtTheBegin,
        Self::ContinueUnderAnyPolicy,
        Self::ForgetsUnfinished,
        Self::TwoOutcomes,
    ];
}
