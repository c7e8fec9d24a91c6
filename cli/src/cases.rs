//! `test`: statements with the verdicts that policies are to give, for continuous integration.
//!
//! What decides is what decides for `simulate`. Refused: a case file with an unknown word in it, since a misspelt
//! expectation would be no expectation. All files are read before the first case is judged.

mod file;
mod junit;
mod outcome;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use policy::PolicySet;
use serde_json::json;

use crate::exit::{self, Usage};
use crate::place::Place;
use crate::screen::{Paint, Screen, count, indent, line};
use crate::simulate::bench::{self, Bench, Wanted};

use file::{Case, CaseFile};
use outcome::{Outcome, Told};

const LONG: &str = "A case file:

  target: orders-db                  # an AccessTarget of DIR
  catalog: orders.json               # beside this file; else --catalog, else the state directory's
  subject: {namespace: local, serviceAccount: support-agent, labels: {app: support-agent}}
  cases:
    - statement: SELECT id FROM orders
      expect: Allow                  # Allow, RequireApproval or Deny
      rule: support-agent/reads      # among the rules that decided; may be left out
    - name: addresses are masked     # [default: the statement]
      statement: SELECT name, email FROM customers
      expect: Allow
      masks: [support-agent/email, support-agent/ssn]   # all of the relations; may be left out
    - statement: DROP TABLE orders
      subject: {namespace: local, serviceAccount: other}
      expect: Deny

`target`, `database`, `catalog` and `subject` stand at the top for all cases, or in a case for that one. `subject` takes \
namespaceLabels too.

Exit status: 0 every case is as expected; 1 one is not, or the policies or a catalog cannot be used; 2 wrong usage, \
also a case file that cannot be used.";

/// Check policies against files of statements and expected verdicts.
#[derive(Args)]
#[command(after_long_help = LONG)]
pub(crate) struct Test {
    /// Folder of policies and targets.
    #[arg(short = 'f', long, value_name = "DIR")]
    folder: PathBuf,
    /// Saved catalog of the database, for cases that name none.
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Write the results as JUnit XML too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Files of cases.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Test {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let files = self.read()?;
        let set = bench::policies(&self.folder)?;
        let mut outcomes = Vec::new();
        // A large catalog takes longer to read than a statement to judge, and most cases have the one before them.
        let mut last: Option<(&Case, Result<Bench, String>)> = None;
        for (file, case) in files.iter().flat_map(|file| file.cases.iter().map(move |case| (file, case))) {
            let (_, bench) = match last.take().filter(|(before, _)| before.shares_bench(case)) {
                Some(same) => last.insert(same),
                None => last.insert((case, self.bench(&set, place, case))),
            };
            let told = match bench {
                Ok(bench) => Told::of(case, &bench.judge(&case.statement)),
                Err(error) => Told::Unusable(error.clone()),
            };
            outcomes.push(Outcome { file: file.path.display().to_string(), case: case.clone(), told });
        }
        if let Some(path) = &self.junit {
            let xml = junit::report(&outcomes);
            std::fs::write(path, xml).with_context(|| format!("--junit: cannot write `{}`", path.display()))?;
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
        if screen.json() {
            let cases: Vec<_> = outcomes.iter().map(Outcome::json).collect();
            screen.say_json(&json!({"passed": outcomes.len() - failed, "failed": failed, "cases": cases}))?;
        } else {
            say(&outcomes, failed, screen)?;
        }
        Ok(if failed == 0 { exit::DONE } else { exit::FAILED })
    }

    /// All files, or everything that is wrong with any of them.
    fn read(&self) -> Result<Vec<CaseFile>> {
        let mut files = Vec::new();
        let mut wrong = Vec::new();
        for path in &self.files {
            match CaseFile::read(path) {
                Ok(file) => files.push(file),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if wrong.is_empty() { Ok(files) } else { Err(Usage(wrong.join("\n")).into()) }
    }

    fn bench(&self, set: &PolicySet, place: &Place, case: &Case) -> Result<Bench, String> {
        let wanted = Wanted {
            subject: &case.subject,
            target: &case.target,
            database: case.database.as_deref(),
            catalog: case.catalog.as_deref().or(self.catalog.as_deref()),
        };
        Bench::new(set, &self.folder, place, &wanted).map_err(|error| format!("{error:#}"))
    }
}

fn say(outcomes: &[Outcome], failed: usize, screen: &mut Screen) -> Result<()> {
    let mut file = "";
    for outcome in outcomes {
        if outcome.file != file {
            file = &outcome.file;
            screen.say(&screen.paint(&line(file), Paint::Strong))?;
        }
        let name = line(&outcome.case.name);
        let Some(text) = outcome.text() else {
            let word = screen.paint("ok  ", Paint::Good);
            screen.say(&format!("  {word}  {name}"))?;
            continue;
        };
        let word = screen.paint("FAIL", Paint::Bad);
        screen.say(&format!("  {word}  {name}"))?;
        let lines: Vec<String> = text.lines().map(line).collect();
        screen.say(&indent(&lines.join("\n"), "        "))?;
        if outcome.case.name != outcome.case.statement {
            let statement = screen.paint(&line(&outcome.case.statement), Paint::Dim);
            screen.say(&format!("        {statement}"))?;
        }
    }
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let passed = count(number(outcomes.len().saturating_sub(failed)), "case", "cases");
    let text = format!("{passed} as expected, {failed} not");
    let text = screen.paint(&text, if failed == 0 { Paint::Good } else { Paint::Bad });
    screen.say(&text)
}
