//! The server's log, read back: entries, and the statements that it ran.
//!
//! Each entry starts with [`PREFIX`]; the server puts a tab before each further line of it (`elog.c`,
//! `append_with_tabs`). The delimiter cannot be forged by an application's name, which the server reduces to ASCII.

/// `log_line_prefix`: backend pid, SQLSTATE, user, database, application.
pub(super) const PREFIX: &str = "%p»%e»%u»%d»%a»";

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub pid: u32,
    pub sqlstate: String,
    pub user: String,
    pub database: String,
    pub application: String,
    /// `LOG`, `ERROR`, `DETAIL`, `STATEMENT`, ...
    pub severity: String,
    pub text: String,
}

/// One statement that the server ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub pid: u32,
    pub user: String,
    pub database: String,
    pub application: String,
    /// `None` in the simple form; else what stands before the text: the prepared statement's and portal's name.
    pub prepared: Option<String>,
    pub text: String,
    /// `$1 = '5', $2 = NULL`, when there were any.
    pub parameters: Option<String>,
}

pub(super) fn entries(log: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if let Some(last) = found.last_mut() {
                last.text.push('\n');
                last.text.push_str(more);
            }
        } else if let Some(entry) = first_line(line) {
            found.push(entry);
        }
    }
    found
}

fn first_line(line: &str) -> Option<Entry> {
    let mut fields = line.splitn(6, '»');
    let pid = fields.next()?.parse().ok()?;
    let mut field = || fields.next().map(str::to_owned);
    let (sqlstate, user, database, application) = (field()?, field()?, field()?, field()?);
    let (severity, text) = fields.next()?.split_once(":  ")?;
    let (severity, text) = (severity.to_owned(), text.to_owned());
    Some(Entry { pid, sqlstate, user, database, application, severity, text })
}

pub(super) fn executions(entries: &[Entry]) -> Vec<Execution> {
    let mut found: Vec<Execution> = Vec::new();
    // A DETAIL follows its statement at once among the lines of the same backend.
    for entry in entries {
        if entry.severity == "LOG" {
            if let Some((prepared, text)) = executed(&entry.text) {
                found.push(Execution {
                    pid: entry.pid,
                    user: entry.user.clone(),
                    database: entry.database.clone(),
                    application: entry.application.clone(),
                    prepared,
                    text,
                    parameters: None,
                });
            }
        } else if entry.severity == "DETAIL"
            && let Some(values) = parameters(&entry.text)
            && let Some(last) = found.iter_mut().rev().find(|one| one.pid == entry.pid)
        {
            last.parameters.get_or_insert(values);
        }
    }
    found
}

/// `postgres.c`: `exec_simple_query` logs `statement: TEXT`, `exec_execute_message` logs `execute NAME: TEXT` (or
/// `execute fetch from NAME: TEXT` when a portal goes on), `fastpath.c` logs `fastpath function call: ...`.
fn executed(text: &str) -> Option<(Option<String>, String)> {
    if let Some(text) = text.strip_prefix("statement: ") {
        return Some((None, text.to_owned()));
    }
    if text.starts_with("fastpath function call: ") {
        return Some((None, text.to_owned()));
    }
    let (name, text) = text.strip_prefix("execute ")?.split_once(": ")?;
    Some((Some(name.to_owned()), text.to_owned()))
}

/// `parameters: ` up to PostgreSQL 15, `Parameters: ` after it.
fn parameters(text: &str) -> Option<String> {
    text.strip_prefix("parameters: ").or_else(|| text.strip_prefix("Parameters: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_statements_of_every_form_with_their_lines_and_parameters() {
        let log = "7»00000»bob»app»psql»LOG:  statement: select 1\n\
                   \t\tfrom t;\n\
                   8»00000»eve»app»x] LOG:  statement: drop»LOG:  execute s1/p1: select $1\n\
                   7»42601»bob»app»psql»ERROR:  syntax error\n\
                   7»42601»bob»app»psql»STATEMENT:  slect\n\
                   8»00000»eve»app»x»DETAIL:  parameters: $1 = '5'\n\
                   8»00000»eve»app»x»LOG:  execute fetch from s1/p1: select $1\n";
        let found = executions(&entries(log));
        let short: Vec<_> =
            found.iter().map(|e| (e.pid, e.prepared.as_deref(), e.text.as_str(), e.parameters.as_deref())).collect();
        assert_eq!(
            short,
            [
                (7, None, "select 1\n\tfrom t;", None),
                (8, Some("s1/p1"), "select $1", Some("$1 = '5'")),
                (8, Some("fetch from s1/p1"), "select $1", None),
            ]
        );
        assert_eq!(entries(log).iter().filter(|e| e.text.contains("slect")).count(), 1);
    }
}
