//! One database, its masks, and the sub-select that stands for each of its relations.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use pg_raw_parse::{Node, nodes};
use pgsql::visit::{Next, walk};
use pgsql::{Catalog, Limits, MaskTable, parse};

use super::undo::printed;
use crate::support;

const CATALOG: &str = include_str!("../data/catalog.json");

/// As in `masking.rs`. The last word says whether the column may stand in a condition.
const MASKS: &[(&str, &str, &str)] = &[
    ("public.users.email", "Partial", "Allow"),
    ("public.users.ssn", "Redact", "Allow"),
    ("public.users.born", "Redact", "Allow"),
    ("public.users.salary", "Redact", "Deny"),
    ("public.users.tags", "Partial", "Allow"),
    ("public.users.doc", "Redact", "Allow"),
    ("app.events.secret", "Redact", "Allow"),
    ("public.base.secret", "Redact", "Allow"),
    ("public.Odd*.select", "Redact", "Allow"),
    ("app.typed.*", "Redact", "Allow"),
];

pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) none: MaskTable,
    pub(super) masks: MaskTable,
    /// By schema and name and whether it is ONLY.
    templates: BTreeMap<(String, String, bool), Template>,
}

/// Printed, as a whole and each of its columns.
struct Template {
    whole: String,
    columns: Vec<String>,
}

pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let catalog = Catalog::from_json(CATALOG).expect("a catalog");
        let masks = MaskTable::build(&catalog, &support::rules(MASKS));
        let mut world = World { none: MaskTable::default(), templates: BTreeMap::new(), masks, catalog };
        world.templates = templates(&world);
        assert!(world.templates.len() > 10, "{:?}", world.templates.keys());
        world
    })
}

impl World {
    /// Whether it has a masked column.
    pub(super) fn masked(&self, range: &nodes::RangeVar) -> bool {
        self.relation(range).is_some_and(|relation| self.masks.relation(relation.oid).is_some())
    }

    pub(super) fn relation(&self, range: &nodes::RangeVar) -> Option<&pgsql::catalog::Relation> {
        self.catalog.find(range.schemaname()?, range.relname()?)
    }

    /// The relation for which this sub-select stands, if it is the one that stands for it.
    pub(super) fn stands_for<'a>(&self, select: &'a nodes::SelectStmt) -> Option<&'a nodes::RangeVar> {
        let Some(Node::RangeVar(range)) = select.from_clause().first() else { return None };
        let key = (range.schemaname()?.to_owned(), range.relname()?.to_owned(), !range.inh);
        (self.templates.get(&key)?.whole == printed(Node::SelectStmt(select))).then_some(range)
    }

    /// The same for some of its columns: COPY has no place for a sub-select.
    pub(super) fn copies<'a>(&self, select: &'a nodes::SelectStmt) -> Option<&'a nodes::RangeVar> {
        let Some(Node::RangeVar(range)) = select.from_clause().first() else { return None };
        let key = (range.schemaname()?.to_owned(), range.relname()?.to_owned(), !range.inh);
        let template = self.templates.get(&key)?;
        let known = select.target_list().iter().all(|t| template.columns.contains(&printed(Node::ResTarget(t))));
        (known && select.from_clause().len() == 1 && matches!(select.where_clause(), Node::None)).then_some(range)
    }
}

/// What stands for a relation: always for one with masks, for the others where a whole row is read. Each is looked at
/// here, so that it can be relied on.
fn templates(world: &World) -> BTreeMap<(String, String, bool), Template> {
    let mut found = BTreeMap::new();
    for relation in world.catalog.relations.values() {
        for (word, what) in [("", "1"), ("", "x"), ("ONLY ", "1"), ("ONLY ", "x")] {
            let (schema, name) = (relation.schema.replace('"', "\"\""), relation.name.replace('"', "\"\""));
            let sql = format!("SELECT {what} FROM {word}\"{schema}\".\"{name}\" AS x");
            let context = pgsql::Context { catalog: &world.catalog, masks: &world.masks, limits: Limits::default() };
            let Ok(plan) = pgsql::plan(&sql, &context) else { continue };
            let limits = Limits { bytes: 16 << 20, ..Limits::default() };
            let parsed = parse(&plan.text, &limits).expect("what is sent is read");
            let Node::SelectStmt(outer) = parsed.root() else { continue };
            let Some(Node::RangeSubselect(sub)) = outer.from_clause().first() else { continue };
            let Node::SelectStmt(select) = sub.subquery() else { continue };
            look(select, relation, &world.masks);
            let key = (relation.schema.clone(), relation.name.clone(), !word.is_empty());
            let columns = select.target_list().iter().map(|target| printed(Node::ResTarget(target))).collect();
            found.insert(key, Template { whole: printed(Node::SelectStmt(select)), columns });
        }
    }
    // The relations that are masked are among them.
    for relation in world.catalog.relations.values().filter(|r| world.masks.relation(r.oid).is_some()) {
        let key = (relation.schema.clone(), relation.name.clone(), false);
        assert!(found.contains_key(&key), "{}", relation.display());
    }
    found
}

/// All columns in order, and of one that is redacted nothing but its name.
fn look(select: &nodes::SelectStmt, relation: &pgsql::catalog::Relation, masks: &MaskTable) {
    let targets: Vec<&nodes::ResTarget> = select.target_list().iter().collect();
    assert_eq!(targets.len(), relation.columns.len(), "{}", relation.display());
    let Some(masks) = masks.relation(relation.oid) else { return };
    for (target, column) in targets.iter().zip(&relation.columns) {
        let Some(mask) = masks.columns.get(&column.attnum) else { continue };
        assert_eq!(target.name(), Some(column.name.as_str()));
        let (mut reads, mut covers) = (0, 0);
        walk(target.val(), &Limits::default(), |visit| {
            reads += usize::from(matches!(visit.node, Node::ColumnRef(_)));
            covers += usize::from(matches!(visit.node, Node::CaseExpr(_)));
            Ok(Next::Into)
        })
        .expect("a template is walked");
        match mask.method {
            pgsql::mask::MaskMethod::Redact => assert_eq!(reads, 0, "{}.{}", relation.display(), column.name),
            pgsql::mask::MaskMethod::Partial => assert!(reads == 0 || covers == 1, "{}", column.name),
        }
    }
}
