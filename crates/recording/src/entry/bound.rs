//! Bounds on the lengths of what callers submit, so that one entry never outgrows a line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Access, Body, Content, Decided, Entry, MAX_ACCESSES, MAX_ID, MAX_ITEMS, MAX_NAME, MAX_PAYLOAD, MAX_TEXT};

/// Counted for each name: quotes, a comma, and room for names that are many and short.
const AROUND: usize = 16;

impl Content {
    /// The content, and whether it was cut to [`MAX_PAYLOAD`].
    pub(super) fn new(bytes: &[u8]) -> (Self, bool) {
        let (kept, cut) = match bytes.split_at_checked(MAX_PAYLOAD) {
            Some((kept, rest)) => (kept, !rest.is_empty()),
            None => (bytes, false),
        };
        // Control characters grow sixfold as JSON escapes; base64 keeps the line within its bound.
        let plain = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'));
        match std::str::from_utf8(kept) {
            Ok(text) if plain(text) => (Self::Text(text.to_owned()), cut),
            _ => (Self::Base64(STANDARD.encode(kept)), cut),
        }
    }
}

pub(super) fn entry(entry: &mut Entry) {
    each(&mut entry.session, MAX_ID);
    each(&mut entry.op, MAX_ID);
    match &mut entry.body {
        Body::Header(_) | Body::Checkpoint(_) => {}
        Body::Open(o) => {
            for t in [&mut o.subject.namespace, &mut o.subject.service_account, &mut o.target.name, &mut o.target.host]
            {
                text(t, MAX_NAME);
            }
            for t in [&mut o.peer, &mut o.client_auth, &mut o.revision, &mut o.target.protocol] {
                text(t, MAX_ID);
            }
            for t in
                [&mut o.subject.pod, &mut o.subject.pod_uid, &mut o.target.database, &mut o.target.user, &mut o.client]
            {
                each(t, MAX_NAME);
            }
            each(&mut o.tls_downstream, MAX_ID);
            each(&mut o.tls_upstream, MAX_ID);
        }
        Body::Close(c) => text(&mut c.reason, MAX_TEXT),
        Body::Intent(i) => {
            decided(&mut i.decided);
            list(&mut i.obligations);
            each(&mut i.approval, MAX_ID);
        }
        Body::Refusal(r) => {
            decided(&mut r.decided);
            text(&mut r.reason, MAX_TEXT);
            text(&mut r.told, MAX_TEXT);
            each(&mut r.sqlstate, MAX_ID);
            each(&mut r.approval, MAX_ID);
        }
        Body::Approval(a) => {
            for t in [&mut a.name, &mut a.digest, &mut a.expires] {
                text(t, MAX_ID);
            }
            each(&mut a.reviewer, MAX_NAME);
            each(&mut a.reason, MAX_TEXT);
            each(&mut a.display, MAX_PAYLOAD);
            if let Some(impact) = &mut a.impact {
                text(&mut impact.means, MAX_TEXT);
            }
        }
        Body::Data(d) => {
            let (Content::Text(t) | Content::Base64(t)) = &mut d.content;
            // `Data::new` keeps within this; a hand-made one that does not is emptied rather than half-decoded.
            if t.len() > MAX_PAYLOAD.div_ceil(3) * 4 {
                t.clear();
                d.truncated = true;
            }
        }
        Body::Outcome(o) => {
            each(&mut o.digest, MAX_ID);
            each(&mut o.sqlstate, MAX_ID);
            o.found.truncate(MAX_ITEMS);
            o.found.iter_mut().for_each(|found| text(&mut found.kind, MAX_ID));
        }
        Body::Marker(m) => each(&mut m.detail, MAX_TEXT),
    }
}

fn decided(d: &mut Decided) {
    text(&mut d.protocol, MAX_ID);
    text(&mut d.action, MAX_ID);
    text(&mut d.digest, MAX_ID);
    text(&mut d.revision, MAX_ID);
    each(&mut d.display, MAX_PAYLOAD);
    each(&mut d.would_deny, MAX_TEXT);
    each(&mut d.would_deny_word, MAX_ID);
    each(&mut d.trace, MAX_ID);
    // A program that reads a part would take it for the whole.
    d.accesses = d.accesses.take().filter(|all| all.len() <= MAX_ITEMS && weight(all) <= MAX_ACCESSES);
    list(&mut d.resources);
    list(&mut d.rules);
}

/// Each name by its length and what stands around it.
fn weight(accesses: &[Access]) -> usize {
    let names = accesses.iter().flat_map(|access| {
        let fields = access.fields.iter().flatten();
        [&access.verb, &access.kind].into_iter().chain(&access.path).chain(fields)
    });
    names.map(|name| name.len().saturating_add(AROUND)).fold(0, usize::saturating_add)
}

fn each(value: &mut Option<String>, max: usize) {
    if let Some(value) = value {
        text(value, max);
    }
}

fn list(items: &mut Vec<String>) {
    if items.len() > MAX_ITEMS {
        let left_out = items.len() - MAX_ITEMS;
        items.truncate(MAX_ITEMS);
        items.push(format!("... and {left_out} more"));
    }
    items.iter_mut().for_each(|item| text(item, MAX_NAME));
}

fn text(value: &mut String, max: usize) {
    if value.len() > max {
        let left_out = format!(" ... [{} bytes in all]", value.len());
        value.truncate(value.floor_char_boundary(max));
        value.push_str(&left_out);
    }
}
