//! What was seen of recordings last, so that the next look begins there. It may have gone on since: whoever believes it
//! writes behind it, which fails where somebody else has written.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::id::RecordingId;

/// Most recordings of which something is remembered; with more than that it begins anew.
const MOST: usize = 20_000;

/// Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Remembered<T>(Arc<Mutex<HashMap<RecordingId, T>>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Remembered<T> {
    pub(crate) fn get(&self, id: &RecordingId) -> Option<T> {
        self.0.lock().get(id).cloned()
    }

    pub(crate) fn set(&self, id: &RecordingId, seen: T) {
        let mut all = self.0.lock();
        if all.len() >= MOST && !all.contains_key(id) {
            all.clear();
        }
        all.insert(id.clone(), seen);
    }

    /// It has to be looked at again.
    pub(crate) fn forget(&self, id: &RecordingId) {
        self.0.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_bound_and_forgets() {
        let all = Remembered::default();
        let id = |n: usize| RecordingId::new("agents", &format!("u-{n}")).unwrap();
        for n in 0..MOST {
            all.set(&id(n), n);
        }
        all.set(&id(0), 7);
        assert_eq!((all.get(&id(0)), all.get(&id(1))), (Some(7), Some(1)));
        all.forget(&id(1));
        assert_eq!(all.get(&id(1)), None);
        all.set(&id(1), 1);
        all.set(&id(MOST), MOST);
        assert_eq!((all.get(&id(MOST)), all.get(&id(0)), all.0.lock().len()), (Some(MOST), None, 1));
    }
}
