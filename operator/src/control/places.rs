//! How many of something each pod may hold at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::PodName;
use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Mutex<BTreeMap<PodName, usize>>,
}

/// Given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    pod: PodName,
}

impl Places {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, pod: &PodName) -> Option<Place> {
        let mut taken = self.taken.lock();
        let count = taken.get(pod).copied().unwrap_or_default();
        if count >= self.most {
            return None;
        }
        taken.insert(pod.clone(), count.saturating_add(1));
        Some(Place { places: Arc::clone(self), pod: pod.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        match taken.get(&self.pod).copied().unwrap_or_default().checked_sub(1) {
            None | Some(0) => drop(taken.remove(&self.pod)),
            Some(left) => drop(taken.insert(self.pod.clone(), left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_has_its_own_and_gives_them_back() {
        let places = Places::new(2);
        let pod = |namespace| PodName::new(namespace, "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab").unwrap();
        let first = places.take(&pod("a")).unwrap();
        let _second = places.take(&pod("a")).unwrap();
        assert!(places.take(&pod("a")).is_none());
        let other = places.take(&pod("b")).unwrap();
        drop(first);
        let third = places.take(&pod("a")).unwrap();
        drop((third, other));
        assert_eq!(places.taken.lock().len(), 1);
    }
}
