//! Prepared statements or portals by name, with what the session attached to each.
//!
//! A name has a stack of versions: the one that the upstream confirmed, and above it those that were asked for and are not
//! answered yet. An answer confirms a version and drops what lies below; an error takes the versions of its batch away again.
//!
//! Invariant: a name is only resolved when every outcome of the answers under way resolves it to the same version. A version
//! of the current batch is such: when it fails, whatever uses it in that batch is skipped by the upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A prepared statement of the machine. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId(pub(super) u64);

/// A portal of the machine. Never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortalId(pub(super) u64);

#[derive(Debug)]
struct Version<D> {
    id: u64,
    batch: u64,
    /// Confirmed by the upstream. Only the lowest version of a stack can be.
    live: bool,
    /// It takes the name away.
    tombstone: bool,
    data: Option<D>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    Known {
        id: u64,
        batch: u64,
    },
    Unknown,
    /// Depends on an answer to an earlier batch.
    Uncertain,
}

#[derive(Debug)]
pub(super) struct Names<D> {
    limit: usize,
    names: BTreeMap<Arc<str>, Vec<Version<D>>>,
    /// Name by version.
    index: BTreeMap<u64, Arc<str>>,
}

impl<D> Names<D> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, names: BTreeMap::new(), index: BTreeMap::new() }
    }

    pub(super) fn lookup(&self, name: &str, batch: u64) -> Lookup {
        match self.names.get(name).and_then(|versions| versions.last()) {
            None => Lookup::Unknown,
            Some(top) if !top.live && top.batch != batch => Lookup::Uncertain,
            Some(top) if top.tombstone => Lookup::Unknown,
            Some(top) => Lookup::Known { id: top.id, batch: top.batch },
        }
    }

    /// Whether any version of the name is there, confirmed or asked for.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether one more name fits.
    pub(super) fn fits(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.names.len() < self.limit
    }

    pub(super) fn define(&mut self, name: &str, id: u64, batch: u64) {
        self.push(name, Version { id, batch, live: false, tombstone: false, data: None });
    }

    /// Asks for the end of a name; nothing to do when nobody has it.
    pub(super) fn remove(&mut self, name: &str, id: u64, batch: u64) {
        if self.names.contains_key(name) {
            self.push(name, Version { id, batch, live: false, tombstone: true, data: None });
        }
    }

    fn push(&mut self, name: &str, version: Version<D>) {
        let name = self.names.get_key_value(name).map_or_else(|| Arc::from(name), |(name, _)| Arc::clone(name));
        self.index.insert(version.id, Arc::clone(&name));
        self.names.entry(name).or_default().push(version);
    }

    /// The upstream confirmed a version: what lies below it is gone, and so is the name if it was a tombstone.
    pub(super) fn commit(&mut self, id: u64) {
        let mut reached = false;
        self.retain_of(id, |version| {
            let keep = reached || (version.id == id && !version.tombstone);
            reached |= version.id == id;
            version.live |= version.id == id;
            keep
        });
    }

    /// An error: everything of that batch that was not confirmed is taken back.
    pub(super) fn revert(&mut self, batch: u64) {
        self.retain(|version| version.live || version.batch != batch);
    }

    /// A version that turned out to have no effect.
    pub(super) fn take_back(&mut self, id: u64) {
        self.retain_of(id, |version| version.id != id);
    }

    /// What was confirmed is gone: portals at the end of a transaction.
    pub(super) fn clear_live(&mut self) {
        self.retain(|version| !version.live);
    }

    /// One confirmed name is gone.
    pub(super) fn drop_live(&mut self, name: &str) {
        if let Some(id) = self.names.get(name).and_then(|versions| versions.first()).map(|version| version.id) {
            self.retain_of(id, |version| !version.live);
        }
    }

    /// The name is gone whatever is under way.
    pub(super) fn forget(&mut self, name: &str) {
        for version in self.names.remove(name).into_iter().flatten() {
            self.index.remove(&version.id);
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.names.clear();
        self.index.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, id: u64) -> Option<&str> {
        self.index.get(&id).map(|name| &**name)
    }

    pub(super) fn data(&self, id: u64) -> Option<&D> {
        self.names.get(self.index.get(&id)?)?.iter().find(|version| version.id == id)?.data.as_ref()
    }

    pub(super) fn slot(&mut self, id: u64) -> Option<&mut Option<D>> {
        let versions = self.names.get_mut(self.index.get(&id)?)?;
        versions.iter_mut().find(|version| version.id == id && !version.tombstone).map(|version| &mut version.data)
    }

    /// Asked for in that batch, not a tombstone, and neither confirmed nor taken back.
    pub(super) fn is_pending(&self, id: u64, batch: u64) -> bool {
        let versions = self.index.get(&id).and_then(|name| self.names.get(name));
        let asked = |version: &Version<D>| version.id == id && version.batch == batch && !version.live;
        versions.into_iter().flatten().any(|version| asked(version) && !version.tombstone)
    }

    /// Whether that batch asked for a new version of a name and has no answer yet.
    pub(super) fn is_asked(&self, name: &str, batch: u64) -> bool {
        self.names.get(name).into_iter().flatten().any(|version| version.batch == batch && !version.live)
    }

    fn retain_of(&mut self, id: u64, keep: impl FnMut(&mut Version<D>) -> bool) {
        let Some(name) = self.index.get(&id).cloned() else { return };
        let Some(versions) = self.names.get_mut(&name) else { return };
        retain(versions, &mut self.index, keep);
        if versions.is_empty() {
            self.names.remove(&name);
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Version<D>) -> bool) {
        let index = &mut self.index;
        self.names.retain(|_, versions| {
            retain(versions, index, &mut keep);
            !versions.is_empty()
        });
    }
}

fn retain<D>(
    versions: &mut Vec<Version<D>>,
    index: &mut BTreeMap<u64, Arc<str>>,
    mut keep: impl FnMut(&mut Version<D>) -> bool,
) {
    versions.retain_mut(|version| {
        let keep = keep(version);
        if !keep {
            index.remove(&version.id);
        }
        keep
    });
}
