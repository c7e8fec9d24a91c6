//! What a query touches: relations, columns, functions, types.
//!
//! Walks a parsed statement the way the server's analysis does and writes down every use. Refuses names that the catalog
//! does not have, node types that are not expressions, and whatever would show a masked column beside its template.
//! Invariant: each `RangeVar` that was walked has an entry in the edits, so substitution can prove that none was missed.

mod cascade;
mod dml;
mod expression;
mod from;
mod merged;
pub(crate) mod names;
mod query;
mod row;
pub(crate) mod scope;
mod stale;
mod star;

use std::collections::{BTreeMap, BTreeSet};

use policy::operation::{Access, Fields, Resource, ResourceKind, Strictness, Verb};

use crate::catalog::{Catalog, Oid, Relation, RelationKind};
use crate::outputs::Outputs;
use crate::plan::Context;
use crate::refused::Refused;

pub(crate) use cascade::{dropped, inherited, truncated};
pub(crate) use names::constant_text;
pub(crate) use query::Level;
pub(crate) use scope::Env;
pub(crate) use star::Listed;

/// What happens to the `RangeVar` at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RangeEdit {
    /// A common table expression, or another name that is no relation.
    Keep,
    Qualify {
        schema: String,
    },
    /// The sub-select that lists the known columns, masked where they have masks.
    Template {
        oid: Oid,
        only: bool,
    },
}

/// Changes to make in the tree, by byte offset of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    pub(crate) ranges: BTreeMap<i32, RangeEdit>,
    /// `schema.relation.column` becomes `relation.column`.
    pub(crate) columns: BTreeSet<i32>,
    /// A bare name of an item becomes `name.*`, where that is its whole row.
    pub(crate) rows: BTreeSet<i32>,
    /// Of a star in a target list: the outputs to write for it.
    pub(crate) stars: BTreeMap<i32, Vec<Listed>>,
    /// Schema to write before a function.
    pub(crate) functions: BTreeMap<i32, String>,
    /// Schema to write before a type.
    pub(crate) types: BTreeMap<i32, String>,
}

/// A constant or a parameter of the statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Literal {
    /// Byte offset of a constant.
    pub(crate) location: i32,
    /// The number, of a parameter.
    pub(crate) param: Option<u32>,
    pub(crate) hidden: bool,
    /// It is compared with nothing but a masked column, or written to one.
    pub(crate) against: bool,
}

#[derive(Clone, Debug, Default)]
struct Use {
    columns: BTreeSet<String>,
    all: bool,
    bounded: Option<bool>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    uses: BTreeMap<(Verb, Oid), Use>,
    pub(crate) catalogs: BTreeSet<(String, String)>,
    functions: BTreeSet<(String, String)>,
    pub(crate) edits: Edits,
    /// What the agent gets, by position.
    pub(crate) outputs: Outputs,
    pub(crate) literals: Vec<Literal>,
    pub(crate) hide_all: bool,
    pub(crate) params: u32,
    /// Places of relations without masks that need a template while masks are in force.
    exposed: BTreeSet<i32>,
    /// Relations that stand behind a template.
    pub(crate) substituted: BTreeSet<Oid>,
    /// Every relation that is read or changed.
    pub(crate) touched: BTreeSet<Oid>,
    /// Something that only a statement over listed catalogs may do.
    catalog_only: Option<String>,
    system_column: bool,
    /// Functions or types of users run.
    pub(crate) user_code: bool,
    pub(crate) approve: bool,
    /// A column is set to its default by that word.
    pub(crate) defaults: bool,
    pub(crate) settings: BTreeSet<String>,
    /// Names and positions of outputs that may be nothing but outputs.
    deny_outputs: Vec<(usize, String)>,
    /// The weightiest word seen: Read is SELECT.
    pub(crate) weight: Option<Verb>,
}

/// Most steps for one statement: names looked up times columns in scope. The largest honest statements take a tenth.
const MAX_STEPS: usize = 2_000_000;
/// Most walks of one statement: one, one for templates, and more for templates that templates need.
const MAX_WALKS: usize = 4;
/// Most columns of one query: the server's own limit for a target list.
const MAX_COLUMNS: usize = 1_664;

pub(crate) struct Resolver<'c> {
    pub(crate) ctx: &'c Context<'c>,
    pub(crate) out: Findings,
    /// Places of relations without masks that stand behind a template all the same.
    listed: BTreeSet<i32>,
    /// Places of names where `name.*` would mean the whole row and not its columns.
    single: BTreeSet<i32>,
    next_uid: u32,
    steps: usize,
}

impl<'c> Resolver<'c> {
    pub(crate) fn new(ctx: &'c Context<'c>) -> Self {
        Self { ctx, out: Findings::default(), listed: BTreeSet::new(), single: BTreeSet::new(), next_uid: 0, steps: 0 }
    }

    /// A resolver after `walk`. It walks again when a relation without masks turned out to need a template, with that
    /// relation behind one from the start; a template may need others around it.
    ///
    /// # Errors
    /// What `walk` refuses.
    pub(crate) fn walked(
        ctx: &'c Context<'c>,
        walk: impl Fn(&mut Self) -> Result<(), Refused>,
    ) -> Result<Self, Refused> {
        let mut listed = BTreeSet::new();
        for _ in 0..MAX_WALKS {
            let mut resolver = Self { listed: listed.clone(), ..Self::new(ctx) };
            walk(&mut resolver)?;
            if resolver.out.exposed.is_empty() {
                return Ok(resolver);
            }
            listed.append(&mut resolver.out.exposed);
        }
        Err(Refused::new("names of columns and aliases that are mixed up too deeply").hint("use other aliases"))
    }

    fn uid(&mut self) -> u32 {
        self.next_uid = self.next_uid.saturating_add(1);
        self.next_uid
    }

    /// Counts work; sub-queries and common table expressions multiply columns faster than they make text longer.
    fn work(&mut self, steps: usize) -> Result<(), Refused> {
        self.steps = self.steps.saturating_add(steps).saturating_add(1);
        if self.steps > MAX_STEPS { Err(Refused::new("a statement that is too complex")) } else { Ok(()) }
    }

    fn entry(&mut self, verb: Verb, oid: Oid) -> &mut Use {
        self.out.touched.insert(oid);
        self.out.uses.entry((verb, oid)).or_default()
    }

    /// Writes down a use of one column, or of all.
    pub(crate) fn touch(&mut self, verb: Verb, oid: Oid, column: Option<&str>) {
        let entry = self.entry(verb, oid);
        match column {
            Some(name) => _ = entry.columns.insert(name.to_owned()),
            None => entry.all = true,
        }
    }

    /// Writes down a use of a relation, whatever its columns.
    pub(crate) fn open(&mut self, verb: Verb, oid: Oid, bounded: Option<bool>) {
        let entry = self.entry(verb, oid);
        // Two uses are as loose as the looser one.
        entry.bounded = match (entry.bounded, bounded) {
            (Some(a), Some(b)) => Some(a && b),
            (a, b) => a.or(b),
        };
    }

    pub(crate) fn weigh(&mut self, verb: Verb) {
        self.out.weight = self.out.weight.max(Some(verb));
    }

    pub(crate) fn call(&mut self, schema: &str, signature: String) {
        self.out.user_code = true;
        self.out.functions.insert((schema.to_owned(), signature));
    }

    fn needs_catalogs_only(&mut self, what: String) {
        self.out.catalog_only.get_or_insert(what);
    }

    /// Checks what can only be known at the end.
    ///
    /// # Errors
    /// Catalog functions beside relations of users, system columns beside masked ones.
    pub(crate) fn finish(self) -> Result<Findings, Refused> {
        let out = self.out;
        if let Some(what) = &out.catalog_only
            && !out.touched.is_empty()
        {
            return Err(Refused::new(format!("{what} beside a relation that is not a system catalog"))
                .hint("read the system catalogs in a statement of their own"));
        }
        if out.system_column && !out.substituted.is_empty() {
            return Err(Refused::new(
                "a system column such as ctid beside a relation with masked columns or a whole row",
            )
            .hint("name the columns instead of the whole row"));
        }
        Ok(out)
    }
}

impl Findings {
    /// Whether a constant is hidden that may mean more than what a masked column holds: an agent could hide its own.
    pub(crate) fn hides_own(&self) -> bool {
        self.literals.iter().any(|literal| (literal.hidden || self.hide_all) && !literal.against)
    }

    /// The accesses, those of the families of partitions and inheritance included.
    pub(crate) fn accesses(&self, ctx: &Context<'_>) -> Vec<Access> {
        let mut out: BTreeMap<(Verb, Oid), Use> = self.uses.clone();
        let mut partitions: BTreeMap<(Verb, Oid), Use> = BTreeMap::new();
        let mut behind: BTreeMap<(Verb, Oid), Option<bool>> = BTreeMap::new();
        for ((verb, oid), usage) in &self.uses {
            // A partition read by its own name shows rows of its parents; a parent shows rows of its children. A rule that
            // allows the parent allows its partitions; children by inheritance are relations of their own.
            let above = ctx.catalog.closure(*oid, |r| &r.parents);
            let below = ctx.catalog.closure(*oid, |r| &r.children);
            for other in above.iter().chain(&below) {
                let partition = below.contains(other) && ctx.catalog.relation(*other).is_none_or(|r| r.partition);
                let into = if partition { &mut partitions } else { &mut out };
                let entry = into.entry((*verb, *other)).or_default();
                entry.columns.extend(usage.columns.iter().cloned());
                entry.all |= usage.all;
                entry.bounded = entry.bounded.map_or(usage.bounded, |b| Some(b && usage.bounded != Some(false)));
            }
        }
        for ((verb, oid), usage) in &out {
            for base in behind_view(ctx.catalog, *oid) {
                behind.entry((Verb::Read, base)).or_default();
                let bounded = behind.entry((*verb, base)).or_insert(usage.bounded);
                *bounded = bounded.map(|b| b && usage.bounded == Some(true));
            }
        }
        let changed = self
            .uses
            .iter()
            .map(|((verb, oid), usage)| (*verb, *oid, (!usage.all).then(|| usage.columns.clone()), usage.bounded))
            .chain(behind.iter().map(|((verb, oid), bounded)| (*verb, *oid, None, *bounded)));
        let cascaded = cascade::of(ctx.catalog, changed);
        let used = |indirect: bool| {
            move |(key, usage): (_, Use)| {
                let fields = if usage.all { Fields::All } else { Fields::Named(usage.columns) };
                (key, fields, usage.bounded, indirect)
            }
        };
        let named = out.into_iter().map(used(false)).chain(partitions.into_iter().map(used(true)));
        // Which columns a view takes from its tables is not known.
        let behind = behind.into_iter().map(|(key, bounded)| (key, Fields::All, bounded, true));
        let relations = named.chain(behind).filter_map(|((verb, oid), fields, bounded, indirect)| {
            let relation = ctx.catalog.relation(oid)?;
            let bounded = matches!(verb, Verb::Update | Verb::Delete).then_some(bounded == Some(true));
            Some(Access { verb, resource: of_relation(relation, fields), bounded, indirect })
        });
        let relations = relations.chain(cascaded);
        let catalogs = self
            .catalogs
            .iter()
            .map(|(schema, name)| access(Verb::Read, ResourceKind::Catalog, vec![schema.clone(), name.clone()]));
        let functions = self.functions.iter().map(|(schema, signature)| {
            access(Verb::Execute, ResourceKind::Function, vec![schema.clone(), signature.clone()])
        });
        let settings =
            self.settings.iter().map(|name| access(Verb::Execute, ResourceKind::SessionSetting, vec![name.clone()]));
        let mut all: Vec<Access> = relations.chain(catalogs).chain(functions).chain(settings).collect();
        if all.is_empty() {
            // `SELECT 1` touches nothing but what is built into the server.
            all.push(access(Verb::Read, ResourceKind::Catalog, vec!["pg_catalog".to_owned(), "pg_type".to_owned()]));
        }
        all
    }

    pub(crate) fn ceiling(&self) -> Strictness {
        if self.user_code || self.approve { Strictness::RequireApproval } else { Strictness::Allow }
    }
}

/// Everything that a view, or a view behind it, reads; with the families of partitions and inheritance.
pub(crate) fn behind_view(catalog: &Catalog, oid: Oid) -> BTreeSet<Oid> {
    static NONE: BTreeSet<Oid> = BTreeSet::new();
    let based = |relation: &Relation| matches!(relation.kind, RelationKind::View | RelationKind::Materialized);
    if !catalog.relation(oid).is_some_and(based) {
        return BTreeSet::new();
    }
    // Rules of tables depend on relations too, but a read does not run them and a change is refused.
    let mut found = catalog.closure(oid, |r| match r.kind {
        RelationKind::View | RelationKind::Materialized => &r.depends_on,
        _ => &NONE,
    });
    let families: Vec<BTreeSet<Oid>> = found.iter().map(|base| catalog.family(*base)).collect();
    found.extend(families.into_iter().flatten());
    found
}

pub(crate) fn of_relation(relation: &Relation, fields: Fields) -> Resource {
    Resource { kind: ResourceKind::Relation, path: vec![relation.schema.clone(), relation.name.clone()], fields }
}

pub(crate) fn access(verb: Verb, kind: ResourceKind, path: Vec<String>) -> Access {
    Access { verb, resource: Resource { kind, path, fields: Fields::All }, bounded: None, indirect: false }
}
