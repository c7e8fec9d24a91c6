//! Structural equality of two trees.
//!
//! All fields count except the byte offsets into the text. Invariant: no recursion; a tree that cannot be compared
//! within the limits is an error, never "equal".

use pg_raw_parse::Node;

use crate::visit::{Counts, name, same};
use crate::{Limits, Refused};

/// The outcome of [`compare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The trees mean the same to the grammar.
    Equal {
        /// Pairs of nodes compared.
        nodes: usize,
    },
    /// They do not; the first place found.
    Differs {
        /// The type of the left node.
        node: &'static str,
        /// Its field; `type` when the node types differ, `length` for a list in a list.
        field: &'static str,
    },
}

/// Compares two trees; the statement wrapper `RawStmt` is looked through on both sides.
///
/// # Errors
/// [`Refused`] when the trees are deeper or larger than `limits`.
pub fn compare<'a>(left: Node<'a>, right: Node<'a>, limits: &Limits) -> Result<Comparison, Refused> {
    let mut counts = Counts::default();
    let mut queue = Vec::new();
    let mut open = vec![(statement(left), statement(right), 1_usize)];
    while let Some((left, right, depth)) = open.pop() {
        counts.nodes = counts.nodes.saturating_add(1);
        counts.depth = counts.depth.max(depth);
        limits.check(counts)?;
        if let Err(field) = same(left, right, &mut queue) {
            return Ok(Comparison::Differs { node: name(left), field });
        }
        let depth = depth.saturating_add(1);
        open.extend(queue.drain(..).rev().map(|(left, right)| (left, right, depth)));
    }
    Ok(Comparison::Equal { nodes: counts.nodes })
}

/// The statement inside a `RawStmt`, or the node itself.
pub(crate) fn statement(node: Node<'_>) -> Node<'_> {
    match node {
        Node::RawStmt(raw) => raw.stmt(),
        other => other,
    }
}
