//! Objects numbered one after the other: the only order that a directory and S3 both keep.
//!
//! Who adds makes the next number, and of two that do one is told that it is taken. Objects at the low end may be
//! removed, never the newest. So a slow writer may slip into a number that was used and removed meanwhile: who adds
//! looks afterwards whether the series had gone on, and readers take the newest.

use bytes::Bytes;
use object_store::path::Path;

use crate::error::StoreError;
use crate::store::Store;

#[derive(Clone, Debug)]
pub(crate) struct Series {
    store: Store,
    folder: Path,
    suffix: &'static str,
}

impl Series {
    pub(crate) fn new(store: Store, folder: Path, suffix: &'static str) -> Self {
        Self { store, folder, suffix }
    }

    pub(crate) fn path(&self, number: u64) -> Path {
        self.folder.clone().join(format!("{number:016}{}", self.suffix))
    }

    /// Every number there is, in order. For series that are kept short.
    pub(crate) async fn all(&self) -> Result<Vec<u64>, StoreError> {
        self.above(None).await
    }

    /// The newest of a series without holes that begins at `from`; none when it is empty.
    ///
    /// It costs a few questions about single objects, however long the series is; two where `seen` is the newest.
    pub(crate) async fn newest_from(&self, from: u64, seen: Option<u64>) -> Result<Option<u64>, StoreError> {
        let seen = match seen.filter(|seen| *seen > from) {
            Some(seen) => self.exists(seen).await?.then_some(seen),
            None => None,
        };
        if seen.is_none() && !self.exists(from).await? {
            return Ok(None);
        }
        let (mut there, mut step) = (seen.unwrap_or(from), 1_u64);
        let mut not_there = loop {
            let next = there.saturating_add(step);
            if !self.exists(next).await? {
                break next;
            }
            (there, step) = (next, step.saturating_mul(2));
        };
        while there.saturating_add(1) < not_there {
            let middle = there.midpoint(not_there);
            if self.exists(middle).await? { there = middle } else { not_there = middle }
        }
        Ok(Some(there))
    }

    pub(crate) async fn get(&self, number: u64, most: u64) -> Result<Option<Bytes>, StoreError> {
        self.store.get(&self.path(number), most).await
    }

    pub(crate) async fn exists(&self, number: u64) -> Result<bool, StoreError> {
        Ok(self.store.size(&self.path(number)).await?.is_some())
    }

    /// Makes `number`. False when it is there already.
    pub(crate) async fn create(&self, number: u64, content: Bytes) -> Result<bool, StoreError> {
        self.store.create(&self.path(number), content).await
    }

    pub(crate) async fn replace(&self, number: u64, content: Bytes) -> Result<(), StoreError> {
        self.store.replace(&self.path(number), content).await
    }

    pub(crate) async fn remove(&self, number: u64) -> Result<(), StoreError> {
        self.store.remove(&self.path(number)).await
    }

    /// Those after `after`, in order.
    pub(crate) async fn above(&self, after: Option<u64>) -> Result<Vec<u64>, StoreError> {
        let names = self.store.names(&self.folder, after.map(|number| self.path(number)).as_ref()).await?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| self.number(name)).collect();
        numbers.retain(|number| after.is_none_or(|after| *number > after));
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// One spelling only.
    fn number(&self, name: &str) -> Option<u64> {
        let digits = name.strip_suffix(self.suffix)?;
        let number = digits.parse().ok()?;
        (digits == format!("{number:016}")).then_some(number)
    }
}
