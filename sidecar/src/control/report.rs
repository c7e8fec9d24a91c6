//! Tells the operator what is in force here, after each snapshot that was put in force, and which rules were used. People
//! see it; nothing is decided by it, so it is in nobody's way and what fails is said again later.
//!
//! An operator of a version that does not listen is told nothing until the next stream, which may lead to another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use control::v1::{ReportRequest, UsedRules};
use policy::verdict::RuleId;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::line::Line;
use super::{FIRST_PAUSE, jittered, longer, why};
use crate::used::Used;

/// Between two looks at the rules that were used.
const LOOK: Duration = Duration::from_secs(30);
/// Between two reports.
const GAP: Duration = Duration::from_millis(250);
/// For one report.
const PATIENCE: Duration = Duration::from_secs(5);
/// Rules in one report; the others are in the next one.
const RULES: usize = 1_000;

/// The form of each policy: of the cluster or not, its name, and the operator's word for what it says.
pub(super) type Forms = BTreeMap<(bool, String), String>;

#[derive(Clone, Debug, Default)]
pub(super) struct InForce {
    pub(super) revision: String,
    pub(super) forms: Arc<Forms>,
    /// Which snapshot, and of which stream; there is nobody to tell before the first.
    pub(super) serial: u64,
    pub(super) stream: u64,
}

pub(super) struct Reporter {
    pub(super) line: Line,
    pub(super) in_force: watch::Receiver<InForce>,
    pub(super) used: Arc<Used>,
}

/// What the operator knows from us, in one stream.
#[derive(Debug, Default)]
struct Known {
    stream: u64,
    serial: u64,
    /// With the form of its policy.
    rules: BTreeSet<(RuleId, String)>,
    /// It does not listen.
    deaf: bool,
}

impl Reporter {
    /// Until the feed ends.
    pub(super) async fn run(mut self) {
        let (mut known, mut pause, mut said) = (Known::default(), None, false);
        loop {
            // A change is a wake-up and no more.
            if let Ok(Err(_)) = timeout(pause.map_or(LOOK, jittered), self.in_force.changed()).await {
                return;
            }
            let now = self.in_force.borrow_and_update().clone();
            if known.stream != now.stream {
                known = Known { stream: now.stream, ..Known::default() };
            }
            let news = known.news(&now, &self.used.rules());
            if known.deaf || (known.serial == now.serial && news.is_empty()) {
                pause = None;
                continue;
            }
            let request = ReportRequest { in_force: now.revision.clone(), used: grouped(&news) };
            let answer = timeout(PATIENCE, self.line.client().report(request)).await;
            let code = match &answer {
                Ok(Ok(_)) => Code::Ok,
                Ok(Err(status)) => status.code(),
                Err(_) => Code::DeadlineExceeded,
            };
            match code {
                Code::Ok => {
                    (known.serial, pause) = (now.serial, None);
                    known.rules.extend(news);
                }
                Code::Unimplemented | Code::InvalidArgument => {
                    (known.deaf, pause) = (true, None);
                    if !std::mem::replace(&mut said, true) {
                        let error = answer.ok().and_then(Result::err).as_ref().map(why).unwrap_or_default();
                        tracing::warn!(event = "report_not_taken", error, "the operator shows this pod as not synced");
                    }
                }
                _ => {
                    pause = Some(longer(pause.unwrap_or(FIRST_PAUSE)));
                    tracing::debug!(event = "report_failed", ?code);
                }
            }
            sleep(GAP).await;
        }
    }
}

impl Known {
    /// Used and not said yet; rules of our own are nobody's policy.
    fn news(&self, now: &InForce, used: &BTreeSet<RuleId>) -> Vec<(RuleId, String)> {
        let formed = used.iter().filter_map(|rule| {
            let form = now.forms.get(&(rule.cluster, rule.policy.clone()))?;
            Some((rule.clone(), form.clone()))
        });
        formed.filter(|rule| !self.rules.contains(rule)).take(RULES).collect()
    }
}

/// In the order of their policies, as they come.
fn grouped(rules: &[(RuleId, String)]) -> Vec<UsedRules> {
    let mut all: BTreeMap<(&str, bool, &str), Vec<String>> = BTreeMap::new();
    for (RuleId { policy, rule, cluster }, form) in rules {
        all.entry((policy, *cluster, form)).or_default().push(rule.clone());
    }
    let used = |((policy, cluster, revision), rules): ((&str, bool, &str), Vec<String>)| UsedRules {
        policy: policy.to_owned(),
        cluster,
        revision: revision.to_owned(),
        rules,
    };
    all.into_iter().map(used).collect()
}
