//! What an earlier life of the process left in `requests/`: shown on, but good for nothing.

use std::io;
use std::time::{Duration, Instant};

use recording::entry::{Approval, ApprovalEvent};

use super::book::{Book, KEEP_ENDED, MOST_ENDED};
use super::files::Files;
use super::request::expire_object;

/// Puts the old requests in the book, the open ones as Expired, and gives the entries that say so.
///
/// The files may have been edited while nobody looked: nothing of them is believed but that they existed.
pub(super) fn take_over(files: &Files, book: &mut Book) -> io::Result<Vec<Approval>> {
    let mut entries = Vec::new();
    for (number, (name, mut object)) in files.earlier()?.into_iter().enumerate() {
        let left = KEEP_ENDED.checked_sub(age(&object.spec.expires_at)).filter(|_| number < MOST_ENDED);
        let Some(goes) = left.and_then(|left| Instant::now().checked_add(left)) else {
            files.remove(&name);
            continue;
        };
        if expire_object(&mut object) {
            entries.push(Approval {
                name: name.clone(),
                event: ApprovalEvent::Expired,
                digest: object.spec.digest.clone(),
                expires: object.spec.expires_at.clone(),
                vote: None,
                reviewer: None,
                reviewer_uid: None,
                reason: Some("the sidecar was started again".to_owned()),
                shared_user: false,
                display: None,
                impact: None,
            });
        }
        files.put(&name, &object);
        book.insert_past(name, object, goes);
    }
    Ok(entries)
}

/// How long ago it would have expired; a time that cannot be read is long ago.
fn age(expires_at: &str) -> Duration {
    let Ok(then) = expires_at.parse::<jiff::Timestamp>() else { return Duration::MAX };
    Duration::try_from(jiff::Timestamp::now().duration_since(then)).unwrap_or(Duration::ZERO)
}
