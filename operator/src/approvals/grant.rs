//! What an approval that is good for more than one use grants, from when and until when: pure, from signed records and
//! the spec that they are bound to.
//!
//! It begins when the quorum is there and ends after the shortest time that the policy or any of its approvers named.
//! A break-glass grants to the asking pod alone, for half an hour at most and never longer than the policy lets a grant
//! last. A request whose operation no sentence can describe grants nothing: its approval is good once.

use std::time::Duration;

use crds::approval::ApprovalRequestSpec;
use crds::duration::DurationText;
use crds::limits;
use crds::policy::Scope;
use jiff::Timestamp;

use super::request::Request;
use super::stamp::{Record, Word};

const BREAK_GLASS: Duration = Duration::from_secs(limits::BREAK_GLASS_MINUTES * 60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) scope: Scope,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// Who broke the glass for it, and why.
    pub(super) broken: Option<(String, String)>,
}

// === impl Granted ===

impl Granted {
    pub(super) fn of<'a>(
        request: &Request,
        from: Timestamp,
        approvers: impl Iterator<Item = &'a Record>,
    ) -> Option<Self> {
        let longest = longest(&request.spec, Word::Approve)?;
        let length = approvers.map(|vote| shorter(vote, longest)).min().unwrap_or(longest);
        Some(Self { scope: request.spec.scope, from, until: after(from, length), broken: None })
    }

    /// What cannot be granted is good once, and no longer.
    pub(super) fn broken(request: &Request, vote: &Record) -> Option<Self> {
        let from = vote.at()?;
        let broken = Some((vote.user.clone(), vote.reason.clone()));
        let (scope, until) = match longest(&request.spec, Word::BreakGlass) {
            Some(longest) => (Scope::Duration, after(from, shorter(vote, longest))),
            None => (Scope::Once, after(from, BREAK_GLASS).min(request.expires)),
        };
        Some(Self { scope, from, until, broken })
    }
}

impl Granted {
    /// A bounded label for metrics.
    pub(super) fn word(&self) -> &'static str {
        match (self.scope, &self.broken) {
            (_, Some(_)) => "break-glass",
            (Scope::Once, None) => "once",
            (Scope::Session, None) => "session",
            (Scope::Duration, None) => "duration",
            (Scope::Task, None) => "task",
        }
    }
}

/// How long such a vote may grant at most. `None`: it grants nothing, it is good once.
pub(super) fn longest(spec: &ApprovalRequestSpec, word: Word) -> Option<Duration> {
    spec.cover.as_ref()?;
    // A length that cannot be read is none at all.
    let policy = spec.grant.as_ref().map(|grant| grant.max_duration.to_std().unwrap_or(Duration::ZERO));
    match word {
        Word::Approve => policy.filter(|_| spec.scope != Scope::Once),
        Word::BreakGlass => Some(policy.map_or(BREAK_GLASS, |policy| policy.min(BREAK_GLASS))),
        Word::Deny | Word::Revoke => None,
    }
}

/// As people write it.
pub(super) fn shown(length: Duration) -> DurationText {
    let seconds = length.as_secs();
    DurationText(match seconds {
        hours if hours > 0 && hours.is_multiple_of(3600) => format!("{}h", hours / 3600),
        minutes if minutes > 0 && minutes.is_multiple_of(60) => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    })
}

/// What the record says, where it says less.
fn shorter(vote: &Record, longest: Duration) -> Duration {
    match vote.grant.as_str() {
        "" => longest,
        text => text.parse::<DurationText>().and_then(|text| text.to_std()).unwrap_or(Duration::ZERO).min(longest),
    }
}

fn after(from: Timestamp, length: Duration) -> Timestamp {
    from.checked_add(length).unwrap_or(from)
}
