//! Policies as far as the order of steps goes: what each revision says of each digest.

use std::collections::BTreeMap;

/// Which contents the policies have: one that comes back is the same again, as a hash of contents is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u16);

/// One text with its parameters and settings, under the key of one life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Allow,
    Ask,
    Deny,
}

/// What is not listed is denied, as without a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    by_digest: BTreeMap<(Revision, Digest), Verdict>,
    by_revision: BTreeMap<Revision, Verdict>,
}

impl Rules {
    /// One verdict for everything under a revision.
    #[must_use]
    pub fn whole(mut self, revision: Revision, verdict: Verdict) -> Self {
        self.by_revision.insert(revision, verdict);
        self
    }

    /// Of one digest; says whether that agrees with what was known.
    pub fn learn(&mut self, revision: Revision, digest: Digest, verdict: Verdict) -> bool {
        *self.by_digest.entry((revision, digest)).or_insert(verdict) == verdict
    }

    pub fn verdict(&self, revision: Revision, digest: Digest) -> Verdict {
        let special = self.by_digest.get(&(revision, digest));
        special.or_else(|| self.by_revision.get(&revision)).copied().unwrap_or(Verdict::Deny)
    }

    /// Those that policies can change to.
    pub fn revisions(&self) -> impl Iterator<Item = Revision> + '_ {
        self.by_revision.keys().copied()
    }
}
