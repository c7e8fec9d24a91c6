//! The count of one request: signed records, its spec and the time in, where it stands out.
//!
//! A record that is not ours counts as if it were not there. One person counts once, a denial of theirs more than an
//! approval, and an approval for those policies on which they may approve; each policy needs its quorum. In which order
//! votes came changes nothing. One break-glass on every policy is enough; one revocation ends what was approved. What the
//! status says can only close the request.

use std::collections::{BTreeMap, BTreeSet};

use crds::approval::{ApproverDecision, Decision, Phase};
use crds::limits;
use jiff::Timestamp;
use policy::approval::Standing;

use super::grant::Granted;
use super::request::Request;
use super::stamp::{Key, Record, Word};

/// The votes that are ours, oldest first, and how many are not.
#[derive(Clone, Debug, Default)]
pub(super) struct Ballot {
    pub(super) votes: Vec<Record>,
    pub(super) ignored: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) standing: Standing,
    /// The least that any policy has.
    pub(super) approvals: u8,
    /// By policy, as `Kind/name`.
    pub(super) policies: BTreeMap<String, u8>,
    /// Whose approval counts for some policy.
    pub(super) approvers: Vec<String>,
    /// Whose denial ended it, and why.
    pub(super) denied: Option<(String, String)>,
    /// Of an approval that is good for more than one use, or was.
    pub(super) grant: Option<Granted>,
    /// One for each person, and each break-glass and revocation, oldest first.
    pub(super) decisions: Vec<ApproverDecision>,
}

/// One person's votes.
struct Voice<'a> {
    /// The first denial, or the first approval if there is none.
    counts: &'a Record,
    policies: BTreeSet<&'a str>,
}

// === impl Ballot ===

impl Ballot {
    pub(super) fn read(request: &Request, key: &Key) -> Self {
        let all = request.records.values().map(|text| Record::read(text, key, &request.uid, &request.digest));
        let (votes, others): (Vec<_>, Vec<_>) = all.partition(Result::is_ok);
        let mut votes: Vec<Record> = votes.into_iter().flatten().collect();
        votes.sort_by(|a, b| (a.at(), a).cmp(&(b.at(), b)));
        votes.dedup();
        Self { votes, ignored: others.len() }
    }

    /// When the last vote was recorded.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.votes.iter().filter_map(Record::at).max()
    }

    fn voices(&self) -> Vec<Voice<'_>> {
        let mut people: Vec<Vec<&Record>> = Vec::new();
        for vote in &self.votes {
            let same = |person: &Vec<&Record>| person.iter().any(|other| other.is_by(&vote.user, &vote.uid));
            // Two who were strangers so far are one when a vote has the name of one and the uid of the other.
            let (known, others): (Vec<_>, Vec<_>) = people.into_iter().partition(same);
            people = others;
            people.push(known.into_iter().flatten().chain([vote]).collect());
        }
        let mut voices: Vec<Voice<'_>> = people.iter().filter_map(|votes| Voice::of(votes)).collect();
        voices.sort_by(|a, b| (a.counts.at(), a.counts).cmp(&(b.counts.at(), b.counts)));
        voices
    }
}

// === impl Voice ===

impl<'a> Voice<'a> {
    fn of(votes: &[&'a Record]) -> Option<Self> {
        let first = |word| votes.iter().filter(|vote| vote.decision == word).min_by_key(|vote| (vote.at(), **vote));
        let counts = first(Word::Deny).or_else(|| first(Word::Approve))?;
        let approvals = votes.iter().filter(|vote| vote.decision == Word::Approve);
        let policies = approvals.flat_map(|vote| vote.policies.iter().map(String::as_str)).collect();
        Some(Self { counts, policies })
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn of(request: &Request, ballot: &Ballot, now: Timestamp) -> Self {
        let voices = ballot.voices();
        let (for_it, against): (Vec<_>, Vec<_>) =
            voices.iter().partition(|voice| voice.counts.decision == Word::Approve);
        let policies: BTreeMap<String, u8> = request
            .policies()
            .into_iter()
            .map(|policy| {
                let have = for_it.iter().filter(|voice| voice.policies.contains(policy.as_str())).count();
                (policy, small(have))
            })
            .collect();
        // Without a policy nobody could approve.
        let approvals = policies.values().copied().min().unwrap_or_default();
        let counts = |voice: &&&Voice<'_>| voice.policies.iter().any(|policy| policies.contains_key(*policy));
        let threshold = usize::try_from(request.spec.deny_threshold.max(1)).unwrap_or(usize::MAX);
        let denied = against.get(threshold.saturating_sub(1));
        let denied = denied.map(|voice| (voice.counts.user.clone(), voice.counts.reason.clone()));
        let broken = ballot.votes.iter().find(|vote| breaks_glass(request, vote));
        let approvers = for_it.iter().filter(counts).map(|voice| voice.counts);
        let reached = reached(request, &for_it);
        let grant = match (broken, reached) {
            (Some(vote), _) => Granted::broken(request, vote),
            (None, Some(at)) => Granted::of(request, at, approvers.clone()),
            (None, None) => None,
        };
        // What is loud comes before what is cut off.
        let loud = ballot.votes.iter().filter(|vote| matches!(vote.decision, Word::BreakGlass | Word::Revoke));
        let mut said: Vec<&Record> = loud.chain(voices.iter().map(|voice| voice.counts)).collect();
        said.truncate(limits::DECISIONS);
        said.sort_by(|a, b| (a.at(), a).cmp(&(b.at(), b)));
        Self {
            standing: Case {
                denied: denied.is_some(),
                revoked: ballot.votes.iter().any(|vote| revokes(request, vote)),
                approved: broken.is_some() || reached.is_some(),
                until: grant.as_ref().map_or(request.expires, |grant| grant.until),
                have: approvals,
            }
            .standing(request, now),
            approvals,
            approvers: broken.into_iter().chain(approvers).map(|vote| vote.user.clone()).collect(),
            policies,
            denied,
            grant,
            decisions: said.into_iter().map(decision).collect(),
        }
    }
}

/// One person alone, for every policy, with a reason and in time.
fn breaks_glass(request: &Request, vote: &Record) -> bool {
    vote.decision == Word::BreakGlass
        && !vote.reason.is_empty()
        && !request.spec.policy_refs.is_empty()
        && request.policies().iter().all(|policy| vote.policies.contains(policy))
        && vote.at().is_some_and(|at| at < request.expires)
}

fn revokes(request: &Request, vote: &Record) -> bool {
    vote.decision == Word::Revoke && request.policies().iter().any(|policy| vote.policies.contains(policy))
}

/// When every policy had its quorum, if that was in time.
fn reached(request: &Request, for_it: &[&Voice<'_>]) -> Option<Timestamp> {
    let need = usize::try_from(request.spec.required_approvals.max(1)).unwrap_or(usize::MAX);
    let policies = request.policies();
    let moments = policies.iter().map(|policy| {
        let voices = for_it.iter().filter(|voice| voice.policies.contains(policy.as_str()));
        voices.filter_map(|voice| voice.counts.at()).nth(need.saturating_sub(1))
    });
    // Without a policy nobody could approve.
    let last = moments.collect::<Option<Vec<_>>>()?.into_iter().max();
    last.filter(|at| *at < request.expires)
}

/// What is known of a request that its status has not closed.
struct Case {
    denied: bool,
    revoked: bool,
    approved: bool,
    /// When the approval ends.
    until: Timestamp,
    have: u8,
}

impl Case {
    fn standing(&self, request: &Request, now: Timestamp) -> Standing {
        let need = u8::try_from(request.spec.required_approvals.max(1)).unwrap_or(u8::MAX);
        let status = request.status.as_ref();
        match status.map(|status| status.phase) {
            Some(Phase::Withdrawn) => return Standing::Withdrawn,
            Some(Phase::Revoked) => return Standing::Revoked,
            _ if status.is_some_and(|status| status.consumed) => return Standing::Consumed,
            Some(Phase::Denied) => return Standing::Denied,
            Some(Phase::Expired) => return Standing::Expired,
            Some(Phase::Pending | Phase::Approved) | None => {}
        }
        if self.revoked {
            Standing::Revoked
        } else if self.denied {
            Standing::Denied
        } else if self.approved {
            if now < self.until { Standing::Approved } else { Standing::Expired }
        } else if now >= request.expires {
            Standing::Expired
        } else {
            Standing::Pending { have: self.have, need }
        }
    }
}

fn decision(vote: &Record) -> ApproverDecision {
    ApproverDecision {
        user: vote.user.clone(),
        decision: match vote.decision {
            Word::Approve => Decision::Approve,
            Word::Deny => Decision::Deny,
            Word::Revoke => Decision::Revoke,
            Word::BreakGlass => Decision::BreakGlass,
        },
        reason: (!vote.reason.is_empty()).then(|| vote.reason.clone()),
        time: vote.time.clone(),
    }
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
