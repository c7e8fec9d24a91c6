//! `verify --store`: recordings of a store, against the public key of the witness alone.

use anyhow::{Context as _, Result};
use archive::{Audit, AuditError, Countersigned, Library, RecordingId, ShelfError};
use recording::VerifyingKey;
use recording::verify::Verdict;
use serde_json::json;

use crate::exit;
use crate::screen::{Paint, Screen, count, line};
use crate::source::{FromStore, unread};

/// Says it of each, and ends with the status of the worst. One that cannot be read hides no other.
pub(super) fn run(from: &FromStore, library: &Library, witness: &VerifyingKey, screen: &mut Screen) -> Result<u8> {
    let chosen = from.chosen(library)?;
    if chosen.is_empty() {
        screen.remark("the store holds no recording");
        return Ok(exit::NO_RECORDING);
    }
    let mut statuses = Vec::new();
    for id in chosen {
        let audit = match library.audit(&id, witness) {
            Ok(audit) => audit,
            Err(error) if !from.is_named() && error.is_damage() => {
                say_unread(screen, &id, &error)?;
                statuses.push(exit::FAILED);
                continue;
            }
            Err(AuditError::Shelf(error)) => return Err(unread(&id, error)),
            Err(error) => return Err(error).with_context(|| format!("recording `{id}` cannot be read")),
        };
        let status = status(&audit);
        if screen.json() {
            say_json(screen, &id, &audit, status)?;
        } else {
            say(screen, &id, &audit, status)?;
        }
        statuses.push(status);
    }
    let worst = statuses.iter().copied().max_by_key(|status| weight(*status)).unwrap_or(exit::DONE);
    if !screen.json() && statuses.len() > 1 {
        let bad = statuses.iter().filter(|status| **status != exit::DONE).count();
        let all = count(u64::try_from(statuses.len()).unwrap_or(u64::MAX), "recording", "recordings");
        screen.say(&format!("{all}, {bad} of them not intact and countersigned"))?;
    }
    Ok(worst)
}

/// What was changed weighs more than what is not proven, and that more than what is not signed yet.
fn weight(status: u8) -> u8 {
    match status {
        exit::DONE => 0,
        13 => 1,
        exit::NOT_COUNTERSIGNED => 2,
        _ => 3,
    }
}

fn status(audit: &Audit) -> u8 {
    let verdict = audit.report.verdict.exit_code();
    match audit.countersigned {
        Countersigned::Head(_) => verdict,
        // Nothing was kept and nothing was promised.
        Countersigned::Never if audit.report.head.size == 0 && verdict == 13 => verdict,
        Countersigned::Never | Countersigned::Forged if weight(verdict) < weight(exit::NOT_COUNTERSIGNED) => {
            exit::NOT_COUNTERSIGNED
        }
        Countersigned::Never | Countersigned::Forged => verdict,
    }
}

fn say_unread(screen: &mut Screen, id: &RecordingId, error: &AuditError) -> Result<()> {
    let why = match error {
        AuditError::Shelf(ShelfError::NotBegun) => "it has no beginning: `meta.json` is not there".to_owned(),
        error => line(&error.to_string()),
    };
    if screen.json() {
        let (recording, verdict) = (id.to_string(), format!("cannot be read: {why}"));
        let said = json!({"recording": recording, "verdict": verdict, "intact": false, "exitStatus": exit::FAILED});
        return screen.say_json(&said);
    }
    let verdict = screen.paint("cannot be read", Paint::Bad);
    screen.say(&format!("{id}  {verdict}"))?;
    screen.say(&format!("  {why}"))
}

fn say(screen: &mut Screen, id: &RecordingId, audit: &Audit, status: u8) -> Result<()> {
    let paint = match weight(status) {
        0 => Paint::Good,
        1 | 2 => Paint::Waiting,
        _ => Paint::Bad,
    };
    let verdict = screen.paint(&line(&audit.report.verdict.to_string()), paint);
    let entries = count(audit.report.entries, "entry", "entries");
    screen.say(&format!("{id}  {verdict}"))?;
    let pod = line(&format!("pod {}, service account {}", audit.meta.pod, audit.meta.service_account));
    screen.say(&format!("  {pod}"))?;
    screen.say(&format!("  {entries} sound, {}", audit.countersigned))?;
    if let Verdict::Truncated { size, expected } = audit.report.verdict {
        let lost = count(expected.saturating_sub(size), "countersigned entry", "countersigned entries");
        screen.say(&format!("  {lost} never arrived"))?;
    }
    if let Some(expired) = audit.report.expired {
        screen.say(&format!("  the {expired} before them expired: the witness signed for it"))?;
    }
    if !audit.report.orderly_stop && status == exit::DONE {
        screen.say("  no orderly stop stands at the end: the pod runs still, or its last entries never arrived")?;
    }
    Ok(())
}

fn say_json(screen: &mut Screen, id: &RecordingId, audit: &Audit, status: u8) -> Result<()> {
    let countersigned = match audit.countersigned {
        Countersigned::Head(head) => json!(head.to_string()),
        Countersigned::Never | Countersigned::Forged => json!(null),
    };
    let report = &audit.report;
    screen.say_json(&json!({
        "recording": id.to_string(),
        "pod": audit.meta.pod,
        "serviceAccount": audit.meta.service_account,
        "verdict": line(&report.verdict.to_string()),
        "intact": status == exit::DONE,
        "exitStatus": status,
        "entries": report.entries,
        "expiredEntries": report.expired,
        "head": report.head.to_string(),
        "countersigned": countersigned,
        "countersignature": audit.countersigned.to_string(),
        "orderlyStop": report.orderly_stop,
    }))
}
