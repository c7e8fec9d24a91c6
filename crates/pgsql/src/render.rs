//! From a changed tree back to text.
//!
//! The C deparser is wrong for some mixed expressions (it loses parentheses), half of the time with valid SQL of another
//! meaning. Invariant: a text is returned only after it was parsed again and its tree compared equal to the tree that
//! was meant; what cannot be shown equal is refused.

mod splice;

use pg_raw_parse::Node;

pub use splice::{Edit, substitute_text};

use crate::compare::{Comparison, compare, statement};
use crate::parse::{contained, parse};
use crate::visit::{Next, walk};
use crate::{Limits, Parsed, Refused};

/// Deparses `meant` (a statement or its `RawStmt`) and proves the text by parsing it again.
///
/// # Errors
/// [`Refused`] when the tree is beyond `limits`, does not deparse, or the text does not mean the tree.
pub fn render(meant: Node<'_>, limits: &Limits) -> Result<String, Refused> {
    contained(|| {
        let meant = statement(meant);
        // The deparser recurses in C without a stack check: depth first.
        walk(meant, limits, |_| Ok(Next::Into))?;
        let text = {
            // A deparse error points into freed memory: it is dropped unseen.
            let Ok(text) = pg_raw_parse::deparse(meant) else {
                return Err(Refused::new("the statement cannot be written back as text"));
            };
            text.as_str().to_owned()
        };
        prove(meant, text, limits)
    })
}

/// [`render`], and when that fails the same change made in the source text by `edits`, under the same proof.
///
/// # Errors
/// [`Refused`] when neither text means the tree.
pub fn render_checked(meant: Node<'_>, source: &Parsed, edits: &[Edit], limits: &Limits) -> Result<String, Refused> {
    render(meant, limits).or_else(|first| {
        let text = substitute_text(source, edits).map_err(|_| first)?;
        contained(|| {
            let meant = statement(meant);
            walk(meant, limits, |_| Ok(Next::Into))?;
            prove(meant, text, limits)
        })
    })
}

/// The text, if its tree equals `meant`.
fn prove(meant: Node<'_>, text: String, limits: &Limits) -> Result<String, Refused> {
    // Substitution makes a text longer than its source; the tree's own bounds stay.
    let longer = Limits { bytes: limits.bytes.saturating_mul(4), ..*limits };
    let again = parse(&text, &longer)?;
    match compare(meant, again.root(), &longer)? {
        Comparison::Equal { .. } => Ok(text),
        Comparison::Differs { node, field } => {
            Err(Refused::new(format!("the statement changes its meaning when written back, at `{field}` of {node}"))
                .hint("put each operator and its operands in parentheses or use simpler expressions"))
        }
    }
}
