//! A refusal in Postgres' words: SQLSTATE, message, DETAIL and HINT. Agents read them, so they say what to do next.
//!
//! SQLSTATEs: 42501 denied by policy; PX001 approval pending, PX002 denied, PX003 expired, PX004 cannot be recorded or
//! asked, PX005 it changed more rows than was approved and was rolled back; 54000 a limit; 08001 the target is away; 57014 cancelled while waiting. PX is in the range that the standard
//! leaves to implementations; class 40 is avoided, since drivers retry it by themselves.

use policy::verdict::DenyReason;

use crate::gate::{NotHeld, Refusal, Refused};

/// The fields of one `ErrorResponse`. They hold names and constant texts, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl Words {
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

const SAME_AGAIN: &str = "Send the identical statement again after approval; do not rephrase it.";

/// The words for one refusal.
pub fn words(refused: &Refused) -> Words {
    let id = &refused.id;
    match &refused.refusal {
        Refusal::Denied(reason) => denied(reason, id),
        Refusal::Pending { request, why } => {
            let hint = match why {
                NotHeld::HoldOver => SAME_AGAIN.to_owned(),
                NotHeld::InTransaction => {
                    format!("Roll back. {SAME_AGAIN} Outside a transaction it waits for the approval by itself.")
                }
                NotHeld::InBatch => {
                    format!("{SAME_AGAIN} Alone, outside a pipeline, it waits for the approval by itself.")
                }
            };
            Words::new("PX001", format!("waiting for approval: request {request} is open ({id})"))
                .detail(request.clone())
                .hint(hint)
        }
        Refusal::ApprovalDenied { request, reason } => {
            let why = reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
            Words::new("PX002", format!("approval denied: request {request}{why} ({id})"))
                .detail(request.clone())
                .hint("A person said no. Do not retry; ask for something else or for a reason.")
        }
        Refusal::Expired { request } => {
            Words::new("PX003", format!("approval request {request} expired before anybody decided ({id})"))
                .detail(request.clone())
                .hint("Send the statement again only if it is still needed: that opens a new request.")
        }
        Refusal::Withdrawn { request } => Words::new(
            "57014",
            format!("canceling statement due to user request; approval request {request} is withdrawn ({id})"),
        )
        .detail(request.clone()),
        Refusal::NotConsumed { request, why } => {
            Words::new("PX003", format!("the approval of request {request} does not count: {why} ({id})"))
                .detail(request.clone())
                .hint("Send the statement again only if it is still needed: that opens a new request.")
        }
        Refusal::NotAlone => Words::new(
            "42501",
            format!("denied: what needs an approval has to be bound and executed in one batch ({id})"),
        )
        .hint("Send Bind and Execute without a Sync or Flush between them."),
        Refusal::CannotShow => Words::new(
            "42501",
            format!("denied: it needs an approval, and cannot be shown whole to a person ({id})"),
        )
        .hint(
            "Nothing was executed. Send it in shorter parts (a statement of at most 16 KiB, parameters of at most 4 KiB), and \
             keep other constants out of a statement that compares masked columns with a sub-query.",
        ),
        Refusal::CannotAsk(why) => {
            Words::new("PX004", format!("approval is needed and cannot be asked for: {why} ({id})"))
                .hint("Nothing was executed. Try again later.")
        }
        Refusal::Unrecorded(why) => Words::new("PX004", format!("refused because it cannot be recorded: {why} ({id})"))
            .hint("Nothing was executed. Try again later."),
        Refusal::NotReplicated(missing) => {
            let why = format!("refused because policy wants it recorded outside of the pod first, and {missing} ({id})");
            Words::new("PX004", why).hint(missing.hint())
        }
        Refusal::PolicyTooOld(age) => {
            let age = age.as_secs();
            Words::new("42501", format!("denied: the access policy was last confirmed {age} s ago, too long ({id})"))
                .hint("What gives out the policies is away since then. Nothing was executed; try again later.")
        }
        Refusal::Revoked(why) => Words::new("42501", format!("denied: {why} ({id})")).hint("Nothing was executed."),
        Refusal::Limit(what) => Words::new("54000", format!("refused: {what} ({id})")),
        Refusal::UpstreamAway(why) => Words::new("08001", format!("the target is not available: {why} ({id})"))
            .hint("Nothing was executed. Try again later."),
    }
}

/// The words for a text that could not be planned, in PostgreSQL's own terms where it has some.
pub fn words_not_planned(refused: &Refused, why: &pgsql::Refused) -> Words {
    if !matches!(refused.refusal, Refusal::Denied(DenyReason::Opaque(_))) {
        return words(refused);
    }
    let mut words = Words::new(why.code.sqlstate(), format!("refused: {} ({})", why.reason, refused.id));
    words.hint = Some(
        why.hint.clone().unwrap_or_else(|| "What is not understood is refused; write it in a simpler form.".to_owned()),
    );
    words
}

fn denied(reason: &DenyReason, id: &str) -> Words {
    let said = reason.message();
    let message = if said.starts_with("denied") { said } else { format!("denied by policy: {said}") };
    let words = Words::new("42501", format!("{message} ({id})"));
    let hint = reason.hint();
    if hint.is_empty() { words } else { words.hint(hint) }
}
