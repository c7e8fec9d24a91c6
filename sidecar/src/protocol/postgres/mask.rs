//! The nets behind masking at scan: what a result may be about, and which words of the server reach the agent.
//!
//! Masks were applied in the statement itself. Here a result that names a masked column of a table (its OID and
//! attribute number) ends the session, and errors and notices of statements near masked data lose every text of the
//! server, since those quote rows and values.

use pgcodec::backend::{DataRow, ErrorFields, RowDescription};
use pgsql::catalog::Catalog;
use pgsql::mask::{MaskMethod, MaskTable};
use pgsql::outputs::Outputs;
use pgsql::plan::Plan;

/// A column of a result that must not be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a result of the target names a masked column (table oid {table}, column {column})")]
pub struct Unmasked {
    pub table: u32,
    pub column: i16,
}

/// Checks a result against what its statement must not show.
pub fn check(plan: &Plan, row: &RowDescription) -> Result<(), Unmasked> {
    for field in &row.fields {
        let forbidden = plan
            .masked
            .iter()
            // Attribute 0 stands for the whole row.
            .any(|(oid, columns)| *oid == field.table && (field.column == 0 || columns.contains(&field.column)));
        if forbidden {
            return Err(Unmasked { table: field.table, column: field.column });
        }
    }
    Ok(())
}

/// A column that the catalog snapshot does not know: it is newer than the masks that were applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a result of the target names a column that is newer than the catalog (table oid {table}, column {column})")]
pub struct Newer {
    pub table: u32,
    pub column: i16,
}

/// Objects below are the server's own (`FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16_384;

/// While masks are in force, a result may only name columns that were known when they were applied.
pub fn check_known(catalog: &Catalog, masks: &MaskTable, row: &RowDescription) -> Result<(), Newer> {
    if !masks.any() {
        return Ok(());
    }
    for field in row.fields.iter().filter(|field| field.table >= FIRST_USER_OID && field.column > 0) {
        let relation = catalog.relations.get(&field.table);
        if !relation.is_some_and(|relation| relation.columns.iter().any(|column| column.attnum == field.column)) {
            return Err(Newer { table: field.table, column: field.column });
        }
    }
    Ok(())
}

/// Values of one row that were masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masked {
    pub partial: u64,
    pub redact: u64,
}

impl Masked {
    /// Of a row; NULL shows nothing and is not counted.
    pub fn of_row(outputs: &Outputs, row: &DataRow) -> Self {
        Self::count(outputs.of(row.len()).zip(row.present()).filter_map(|(method, present)| method.filter(|_| present)))
    }

    /// Of a line of COPY, whose values are not told apart.
    pub fn of_line(outputs: &Outputs) -> Self {
        Self::count(outputs.certain())
    }

    fn count(methods: impl Iterator<Item = MaskMethod>) -> Self {
        let mut masked = Self::default();
        for method in methods {
            let kind = match method {
                MaskMethod::Partial => &mut masked.partial,
                MaskMethod::Redact => &mut masked.redact,
            };
            *kind = kind.saturating_add(1);
        }
        masked
    }
}

/// How much of the server's words about a statement may reach the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// No mask is in force.
    Open,
    /// Masks are in force, this statement is not near masked data. Words of user code and of constraints, which may be
    /// about other relations (a deferred constraint at COMMIT, a trigger), are withheld all the same.
    Guarded,
    /// The statement is near masked data: nothing of the server's text passes.
    Closed,
}

impl Openness {
    /// `near`: whether what the server speaks of is near masked data. `None`: it speaks of nothing that runs, as when it
    /// reads the parameters of a Bind; that is near it where there is any.
    pub fn of(near: Option<bool>, masks: bool) -> Self {
        match (near.unwrap_or(masks), masks) {
            (true, _) => Self::Closed,
            (false, true) => Self::Guarded,
            (false, false) => Self::Open,
        }
    }
}

/// An error or notice as the agent may see it.
///
/// Positions are dropped always: they count in the text that was sent, which is not the agent's.
pub fn server_words(fields: &ErrorFields, openness: Openness) -> ErrorFields {
    let withheld = match openness {
        Openness::Open => false,
        Openness::Guarded => !speaks_of_the_statement(fields),
        Openness::Closed => true,
    };
    if withheld {
        return ErrorFields::new(severity(fields.severity()), fields.code(), &class(fields.code()));
    }
    fields.clone().without(b'P').without(b'p').without(b'q')
}

/// Whether the detail of these words quotes a row or a key of the relation that they name: that a constraint or the check
/// option of a view is violated. The server shows of it what its own role may read, which is more than policy may allow.
pub fn quotes_a_row(fields: &ErrorFields) -> bool {
    matches!(fields.code().get(..2), Some("23" | "44"))
}

/// Classes in which the server speaks of the statement itself and of what it touches, never of other rows.
fn speaks_of_the_statement(fields: &ErrorFields) -> bool {
    let class = fields.code().get(..2).unwrap_or_default();
    let error = !["NOTICE", "WARNING", "INFO", "LOG", "DEBUG"].contains(&fields.severity());
    // A notice of class 00 or 01 may be RAISE in a trigger; the server's own about transactions are class 25.
    class == "25" || (error && ["0A", "22", "26", "34", "42", "53", "54", "55", "57"].contains(&class))
}

/// Only words that PostgreSQL has: the field itself could carry anything.
fn severity(said: &str) -> &'static str {
    ["ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG"]
        .into_iter()
        .find(|known| *known == said)
        .unwrap_or("ERROR")
}

/// Our own sentence for a class of SQLSTATE.
fn class(sqlstate: &str) -> String {
    let what = match sqlstate.get(..2).unwrap_or_default() {
        "22" => "a value does not fit its type or operation",
        "23" => "a constraint is violated",
        "25" => "the transaction is not in a state for this",
        "40" => "the transaction was rolled back by the server",
        "42" => "the statement is not valid for these objects",
        "53" | "54" => "the server has not enough resources",
        "55" => "an object is not in a state for this",
        "57" => "the server or an operator ended the statement",
        "00" | "01" | "02" => "the server has a remark",
        _ => "the server reports an error",
    };
    format!("{what}; its text is withheld because the statement is near masked data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_nothing_that_runs_pass_only_without_masks() {
        assert_eq!(Openness::of(None, false), Openness::Open);
        assert_eq!(Openness::of(None, true), Openness::Closed);
        // It was judged while masks were in force.
        assert_eq!(Openness::of(Some(true), false), Openness::Closed);
        assert_eq!(Openness::of(Some(false), true), Openness::Guarded);
    }

    #[test]
    fn scrubbed_words_hold_nothing_of_the_server() {
        let fields = ErrorFields::new("ERROR", "23502", "null value in column \"x\" of relation \"t\"")
            .with(b'D', "Failing row contains (1, 123-45-6789).")
            .with(b'H', "123-45-6789")
            .with(b'W', "123-45-6789")
            .with(b't', "customers");
        let out = server_words(&fields, Openness::Closed);
        assert_eq!(out.code(), "23502");
        assert!(out.iter().all(|(_, text)| !text.contains("6789") && !text.contains("customers")), "{out:?}");
        let guarded = server_words(&fields, Openness::Guarded);
        assert_eq!(guarded.detail(), None, "a constraint's words are withheld while any mask is in force");
        let raised = ErrorFields::new("NOTICE", "00000", "123-45-6789");
        assert!(!server_words(&raised, Openness::Guarded).message().contains("6789"));
        let own = ErrorFields::new("ERROR", "22012", "division by zero");
        assert_eq!(server_words(&own, Openness::Guarded).message(), "division by zero");
        let open = server_words(&fields.clone().with(b'P', "12"), Openness::Open);
        assert_eq!(open.detail(), Some("Failing row contains (1, 123-45-6789)."));
        assert_eq!(open.get(b'P'), None);
    }
}
