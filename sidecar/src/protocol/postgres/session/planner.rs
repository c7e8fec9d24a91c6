//! Judging texts: against the catalog and the masks of this moment, with a bounded cache by exact text.

use std::collections::HashMap;
use std::sync::Arc;

use pgsql::mask::MaskTable;
use pgsql::parse::Limits;
use pgsql::plan::{Context, plan};
use policy::View;
use policy::operation::Revision;

use super::super::detect::Net;
use super::super::statement::Judged;
use super::snapshot::Loaded;

/// Longer texts are parsed off the reactor.
const INLINE: usize = 16 * 1024;
/// Of the cache: entries, and bytes of text.
const ENTRIES: usize = 256;
const BYTES: usize = 512 * 1024;

#[derive(Debug)]
pub(super) struct Planner {
    loaded: Arc<Loaded>,
    masks: Arc<MaskTable>,
    net: Option<Net>,
    revision: Revision,
    limits: Limits,
    cache: HashMap<String, Arc<Judged>>,
    cached: usize,
}

impl Planner {
    pub(super) fn new(loaded: Arc<Loaded>, view: &View, limits: Limits) -> Self {
        let masks = Arc::new(MaskTable::build(&loaded.catalog, view.masks()));
        let net = Net::of(view);
        Self { loaded, masks, net, revision: view.revision(), limits, cache: HashMap::new(), cached: 0 }
    }

    pub(super) fn loaded(&self) -> &Arc<Loaded> {
        &self.loaded
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn masks(&self) -> &MaskTable {
        &self.masks
    }

    /// What detectors look for, if any do.
    pub(super) fn net(&self) -> Option<Net> {
        self.net
    }

    /// Follows the catalog and the policy.
    pub(super) fn follow(&mut self, loaded: Arc<Loaded>, view: &View) {
        let same = self.revision == view.revision() && self.loaded.catalog.revision == loaded.catalog.revision;
        self.loaded = loaded;
        if !same {
            self.revision = view.revision();
            self.masks = Arc::new(MaskTable::build(&self.loaded.catalog, view.masks()));
            self.net = Net::of(view);
            self.cache.clear();
            self.cached = 0;
        }
    }

    /// Whether a text judged earlier was judged against what is in force now.
    pub(super) fn is_current(&self, judged: &Judged) -> bool {
        judged.planned == self.revision && judged.catalog == self.loaded.catalog.revision && self.is_recent_for(judged)
    }

    /// Whether the catalog is as recent as this statement needs it.
    pub(super) fn is_recent_for(&self, judged: &Judged) -> bool {
        !judged.plan.as_ref().is_ok_and(|plan| plan.needs_fresh) || self.loaded.is_recent()
    }

    pub(super) async fn judge(&mut self, sql: String) -> Arc<Judged> {
        if let Some(judged) = self.cache.get(&sql) {
            return Arc::clone(judged);
        }
        let (loaded, masks, limits, revision) =
            (Arc::clone(&self.loaded), Arc::clone(&self.masks), self.limits, self.revision);
        let long = sql.len() > INLINE;
        let work = move || {
            let context = Context { catalog: &loaded.catalog, masks: &masks, limits };
            let plan = plan(&sql, &context);
            Judged { sql, plan, planned: revision, catalog: loaded.catalog.revision.clone() }
        };
        let judged = if long {
            match tokio::task::spawn_blocking(work).await {
                Ok(judged) => Arc::new(judged),
                // The parser's own panics are caught inside; whatever else happened there, nothing was understood.
                Err(_) => Arc::new(Judged {
                    sql: String::new(),
                    plan: Err(pgsql::Refused::new("the statement could not be judged")),
                    planned: revision,
                    catalog: self.loaded.catalog.revision.clone(),
                }),
            }
        } else {
            Arc::new(work())
        };
        self.keep(&judged);
        judged
    }

    fn keep(&mut self, judged: &Arc<Judged>) {
        let size = judged.sql.len();
        if size > BYTES / 8 {
            return;
        }
        if self.cache.len() >= ENTRIES || self.cached.saturating_add(size) > BYTES {
            self.cache.clear();
            self.cached = 0;
        }
        self.cached = self.cached.saturating_add(size);
        self.cache.insert(judged.sql.clone(), Arc::clone(judged));
    }
}
