//! What a vote must be before it is asked whose right it is: of a person, with words that are in order, and in time.

use crds::approval::{GRANT_ANNOTATION, REASON_ANNOTATION};
use crds::duration::DurationText;
use crds::limits;
use crds::policy::Reason;
use k8s_openapi::api::authentication::v1::UserInfo;
use policy::approval::Standing;
use policy::redact::Redacted;

use crate::approvals::grant::{longest, shown as length};
use crate::approvals::request::Request;
use crate::approvals::stamp::Word;

pub(super) const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
const NOBODY: &[&str] = &["", "system:anonymous"];

/// A person, and not the one who asks.
pub(super) fn voter(user: &UserInfo, request: &Request) -> Result<(), String> {
    let name = user.username.as_deref().unwrap_or_default();
    let subject = &request.spec.subject;
    let own = format!("{SERVICE_ACCOUNT}{}:{}", subject.namespace, subject.service_account);
    let pods = user.extra.iter().flatten().filter(|(key, _)| *key == POD_UID).flat_map(|(_, values)| values);
    if name == own || subject.pod_uid.as_ref().is_some_and(|uid| pods.into_iter().any(|pod| pod == uid)) {
        return Err("who asks cannot decide; another person must".to_owned());
    }
    let grouped = user.groups.iter().flatten().any(|group| group == SERVICE_ACCOUNTS);
    if grouped || name.starts_with(SERVICE_ACCOUNT) {
        return Err("people decide, no ServiceAccount does".to_owned());
    }
    if NOBODY.contains(&name) {
        return Err("who decides must be known".to_owned());
    }
    match is_line(name, limits::TEXT_CHARS) && is_line(user.uid.as_deref().unwrap_or_default(), limits::TEXT_CHARS) {
        true => Ok(()),
        false => Err("the name of who decides is too long or cannot be shown as it is".to_owned()),
    }
}

pub(super) fn reason(text: Option<&String>, word: Word, request: &Request) -> Result<Option<String>, String> {
    let text = text.map(|text| text.trim()).filter(|text| !text.is_empty());
    match text {
        None if word == Word::BreakGlass => {
            Err(format!("who breaks the glass says why: add {REASON_ANNOTATION}=\"...\""))
        }
        None if request.spec.reason == Reason::Required => {
            Err(format!("a reason is required: add {REASON_ANNOTATION}=\"...\""))
        }
        Some(text) if !is_line(text, limits::TEXT_CHARS) => {
            Err(format!("the reason must be one line of at most {} characters that can be seen", limits::TEXT_CHARS))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

pub(super) fn grant(text: Option<&String>, word: Word, request: &Request) -> Result<Option<DurationText>, String> {
    let Some(text) = text else { return Ok(None) };
    let Some(longest) = longest(&request.spec, word) else {
        let verb = word.text();
        return Err(format!("{GRANT_ANNOTATION} has no meaning here: this {verb} grants nothing beyond one use"));
    };
    let most = length(longest);
    let told = |why: &str| Err(format!("{GRANT_ANNOTATION}: {why}; give at most {most}, or leave it out for {most}"));
    match text.trim().parse::<DurationText>() {
        Err(error) => told(&error.to_string()),
        Ok(asked) => match asked.to_std() {
            Ok(length) if length <= longest => Ok(Some(asked)),
            Ok(_) => told(&format!("`{asked}` is longer than this can be granted")),
            Err(error) => told(&error.to_string()),
        },
    }
}

/// Why such a vote comes too late, or too early.
pub(super) fn closed(standing: &Standing, word: Word) -> Option<&'static str> {
    match (standing, word) {
        (Standing::Pending { .. }, Word::Revoke) => return Some("nobody has approved it; deny it instead"),
        (Standing::Approved, Word::Deny) => return Some("it is approved; revoke it instead"),
        (Standing::Approved, Word::Revoke) => return None,
        _ => {}
    }
    match standing {
        Standing::Pending { .. } => None,
        Standing::Approved => Some("it is approved"),
        Standing::Denied => Some("it is denied"),
        Standing::Expired => Some("it has expired"),
        Standing::Withdrawn => Some("the agent has given it up"),
        Standing::Revoked => Some("it is revoked"),
        Standing::Consumed => Some("it was approved and used"),
    }
}

fn is_line(text: &str, most: usize) -> bool {
    text.chars().count() <= most
        && !text.contains(['\n', '\t'])
        && Redacted::danger_caller_redacted(text).as_str() == text
}
