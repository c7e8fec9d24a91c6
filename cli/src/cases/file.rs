//! Case files, read and filled in: a case knows its subject, target and catalog.

use std::path::{Path, PathBuf};

use policy::operation::Strictness;
use policy::subject::Subject;
use serde::Deserialize;

/// A case file is written by people.
const LARGEST: u64 = 1 << 20;
const MOST_CASES: usize = 10_000;
const EXAMPLE: &str = "`test --help` shows an example";

#[derive(Clone, Debug)]
pub(super) struct CaseFile {
    pub(super) path: PathBuf,
    /// At least one.
    pub(super) cases: Vec<Case>,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) statement: String,
    pub(super) subject: Subject,
    pub(super) target: String,
    pub(super) database: Option<String>,
    pub(super) catalog: Option<PathBuf>,
    pub(super) expect: Strictness,
    /// `policy/rule` as verdicts name it.
    pub(super) rule: Option<String>,
    pub(super) masks: Option<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
#[error("`{file}`: {at}{what}")]
pub(super) struct CaseError {
    file: String,
    /// For example `cases[3].expect: `.
    at: String,
    what: String,
}

// `flatten` does not go together with `deny_unknown_fields`, so what both may hold stands in both.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    catalog: Option<PathBuf>,
    #[serde(default)]
    subject: Option<Subject>,
    cases: Vec<WrittenCase>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenCase {
    #[serde(default)]
    name: Option<String>,
    statement: String,
    expect: Strictness,
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    masks: Option<Vec<String>>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    catalog: Option<PathBuf>,
    #[serde(default)]
    subject: Option<Subject>,
}

// === impl CaseFile ===

impl CaseFile {
    /// # Errors
    /// What is wrong with it, where, and what to do.
    pub(super) fn read(path: &Path) -> Result<Self, CaseError> {
        let wrong = |at: String, what: String| CaseError { file: path.display().to_string(), at, what };
        let metadata = std::fs::metadata(path)
            .map_err(|error| wrong(String::new(), format!("cannot be read ({error}): give a file of cases")))?;
        if !metadata.is_file() {
            return Err(wrong(String::new(), "is not a file: give each file of cases".to_owned()));
        }
        if metadata.len() > LARGEST {
            return Err(wrong(String::new(), "is larger than 1 MiB: divide it".to_owned()));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(String::new(), format!("cannot be read ({error}): write it in UTF-8")))?;
        let written: Written = serde_yaml::from_str(&text)
            .map_err(|error| wrong(String::new(), format!("is not a file of cases: {error}; {EXAMPLE}")))?;
        if written.cases.is_empty() || written.cases.len() > MOST_CASES {
            let n = written.cases.len();
            return Err(wrong("cases: ".to_owned(), format!("there are {n}, write 1 to {MOST_CASES}; {EXAMPLE}")));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let Written { target, database, catalog, subject, cases } = written;
        let shared = Shared { target, database, catalog, subject };
        let cases = cases.into_iter().enumerate().map(|(at, case)| {
            case.fill(&shared, folder).map_err(|(field, what)| wrong(format!("cases[{at}].{field}: "), what))
        });
        Ok(Self { path: path.to_owned(), cases: cases.collect::<Result<_, _>>()? })
    }
}

impl Case {
    /// Whether both are judged by the same policies, as the same agent, in the same database.
    pub(super) fn shares_bench(&self, other: &Self) -> bool {
        self.subject == other.subject
            && self.target == other.target
            && self.database == other.database
            && self.catalog == other.catalog
    }
}

struct Shared {
    target: Option<String>,
    database: Option<String>,
    catalog: Option<PathBuf>,
    subject: Option<Subject>,
}

impl WrittenCase {
    /// # Errors
    /// The field that is wrong, and why.
    fn fill(self, shared: &Shared, folder: &Path) -> Result<Case, (&'static str, String)> {
        let missing = |what: &str| format!("is missing: write {what} here, or at the top for all cases");
        let subject = self.subject.or_else(|| shared.subject.clone());
        let subject = subject.ok_or_else(|| ("subject", missing("{namespace: …, serviceAccount: …}")))?;
        let target = self.target.or_else(|| shared.target.clone());
        let target = target.ok_or_else(|| ("target", missing("the name of an AccessTarget")))?;
        if self.statement.trim().is_empty() {
            return Err(("statement", "is empty: write one SQL statement".to_owned()));
        }
        for name in self.rule.iter().chain(self.masks.iter().flatten()) {
            if !name.contains('/') {
                let field = if self.rule.as_ref() == Some(name) { "rule" } else { "masks" };
                return Err((field, format!("`{name}` is not POLICY/NAME: write for example support-agent/reads")));
            }
        }
        let catalog = self.catalog.or_else(|| shared.catalog.clone());
        let name = self.name.unwrap_or_else(|| self.statement.clone());
        Ok(Case {
            name,
            statement: self.statement,
            subject,
            target,
            database: self.database.or_else(|| shared.database.clone()),
            catalog: catalog.map(|file| folder.join(file)),
            expect: self.expect,
            rule: self.rule,
            masks: self.masks,
        })
    }
}
