//! Visits every node of a statement.
//!
//! Refuses what the reviewed table (`visit/fields/`) does not know: a node type the grammar does not make, a field that
//! parsing never sets, an unknown value of a C enumeration. Invariant: nothing here recurses, so neither a chain of
//! 100,000 operators nor as many UNION arms can exhaust the stack.
//!
//! The raw tree is a directed graph: `(a, b) = (SELECT ..)` shares its source, which is then visited once per column.

pub mod choice;
mod fields;
mod table;

#[cfg(test)]
mod tests;

use std::fmt;

use pg_raw_parse::Node;

pub(crate) use table::same;
pub use table::{Kind, Row, name, rows_of};

use crate::{Limits, Refused};

/// A child of a node.
#[derive(Clone, Copy)]
pub struct Child<'a> {
    /// The parent's field it was found in; elements of a list carry the list's field, elements of a list in a list
    /// carry `item`.
    pub field: &'static str,
    /// Never [`Node::None`].
    pub node: Node<'a>,
}

/// One stop of [`walk`].
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// The node; [`Node::NodeList`] only for a list inside a list.
    pub node: Node<'a>,
    /// The nearest enclosing node that is not a list; [`Node::None`] at the root.
    pub parent: Node<'a>,
    /// The field of `parent` it was found in, also through lists in lists; empty at the root.
    pub field: &'static str,
    /// 1 at the root.
    pub depth: usize,
}

// By hand: the derived form would print values of the statement.
impl fmt::Debug for Child<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Child({}: {})", self.field, name(self.node))
    }
}

impl fmt::Debug for Visit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visit({}.{}: {}, depth {})", name(self.parent), self.field, name(self.node), self.depth)
    }
}

/// Whether [`walk`] goes on into the node just visited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Visit its children.
    Into,
    /// Leave its children out.
    Over,
}

/// What [`walk`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Visits, not distinct nodes.
    pub nodes: usize,
    /// The deepest level; 1 is the root alone.
    pub depth: usize,
}

/// The non-null children of `node`, in the order of the table's rows.
///
/// # Errors
/// [`Refused`] when the table does not allow the node or the value of one of its fields.
pub fn children(node: Node<'_>) -> Result<Vec<Child<'_>>, Refused> {
    let mut out = Vec::new();
    table::children(node, &mut out)?;
    Ok(out)
}

/// Visits `root` and all below it, parents before children, in the order of the table's rows.
///
/// # Errors
/// [`Refused`] from `each`, from the table, or when the tree is deeper or larger than `limits`.
pub fn walk<'a>(
    root: Node<'a>,
    limits: &Limits,
    mut each: impl FnMut(Visit<'a>) -> Result<Next, Refused>,
) -> Result<Counts, Refused> {
    let mut counts = Counts::default();
    let mut found = Vec::new();
    let mut open = Vec::new();
    if !matches!(root, Node::None) {
        open.push(Visit { node: root, parent: Node::None, field: "", depth: 1 });
    }
    while let Some(visit) = open.pop() {
        counts.nodes = counts.nodes.saturating_add(1);
        counts.depth = counts.depth.max(visit.depth);
        limits.check(counts)?;
        if each(visit)? == Next::Over {
            continue;
        }
        table::children(visit.node, &mut found)?;
        let depth = visit.depth.saturating_add(1);
        let in_list = matches!(visit.node, Node::NodeList(_));
        open.extend(found.drain(..).rev().map(|child| {
            let (parent, field) = if in_list { (visit.parent, visit.field) } else { (visit.node, child.field) };
            Visit { node: child.node, parent, field, depth }
        }));
    }
    Ok(counts)
}
