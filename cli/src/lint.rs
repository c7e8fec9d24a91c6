//! `lint`: everything that is wrong with a folder of policies before a sidecar reads it, with those of a cluster, or with
//! those of a cluster once the folder was applied.
//!
//! Three tiers, as at an API server: do the files hold our objects, do they obey schema and CEL, do they compile
//! together. Then, where a sidecar has its state directory here, whether the names in them exist, and whether it could
//! load what it was given last.

mod finding;
mod names;
mod running;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use crds::manifest::{Manifest, ManifestErrors};
use crds::validate::validate;
use policy::{CompileError, Warning, compile};

use crate::cluster::{Cluster, ClusterOptions, segment};
use crate::exit::{self, Usage};
use crate::objects::{LIVE, Objects};
use crate::place::Place;
use crate::screen::{Paint, Screen, count, line};

use finding::{Code, Finding, Weight};

const CODES: &str = "Codes:
  AA0101  a file cannot be read           AA0106  an object that stands twice
  AA0102  not valid YAML                  AA0107  too large, too many
  AA0103  something is missing            AA0108  a Secret file that others may read or write
  AA0104  unknown kind, version or word   AA0110  refused by the schema or one of its CEL rules
  AA0105  a value that cannot be meant    AA0111  refused by the compiler
  AA0120  in force, and probably not what was meant (warning)
  AA0121  a relation or column that the saved catalogs of the state directory do not have
  AA0130  the sidecar could not load what it was given last and runs on older policies

Exit status: 0 nothing is wrong, or warnings only; 1 something is wrong; 2 wrong usage.";

/// Say what is wrong with policies, where, and what to do.
#[derive(Args)]
#[command(after_long_help = CODES)]
pub(crate) struct Lint {
    /// Folder of policies and targets, or one file.
    #[arg(short = 'f', long, value_name = "DIR", required_unless_present = "cluster")]
    folder: Option<PathBuf>,
    /// What is in the cluster now, through kubectl; with --folder, as it would be after that was applied.
    #[arg(long)]
    cluster: bool,
    /// Namespace in the cluster [default: that of the context].
    #[arg(short, long, value_name = "NAME", requires = "cluster")]
    namespace: Option<String>,
    /// All namespaces of the cluster.
    #[arg(short = 'A', long, conflicts_with = "namespace", requires = "cluster")]
    all_namespaces: bool,
    #[command(flatten)]
    options: ClusterOptions,
}

impl Lint {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let (mut findings, objects, revision) = match self.objects()? {
            Ok(objects) => {
                let (findings, revision) = objects_findings(&objects);
                (findings, Some(objects), revision)
            }
            Err(errors) => (unreadable(&errors), None, None),
        };
        if let Some(state) = place.named_state_dir()?.filter(|_| !self.cluster) {
            findings.extend(names::unknown(&state, objects.as_ref()));
            findings.extend(running::kept_older(&state, revision.as_deref()));
        }
        let wrong = findings.iter().filter(|f| f.weight == Weight::Error).count();
        if screen.json() {
            screen.say_json(&findings)?;
        } else {
            findings.iter().try_for_each(|finding| finding.say(screen))?;
            let folder = match &self.folder {
                Some(folder) => line(&folder.display().to_string()),
                None => LIVE.to_owned(),
            };
            let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            let errors = count(number(wrong), "error", "errors");
            let warnings = count(number(findings.len().saturating_sub(wrong)), "warning", "warnings");
            let objects = count(number(objects.map_or(0, |o| o.located.len())), "object", "objects");
            let text = match wrong {
                0 => screen.paint(&format!("{folder}: {objects}, {errors}, {warnings}"), Paint::Good),
                _ => screen.paint(&format!("{folder}: {errors}, {warnings}"), Paint::Bad),
            };
            screen.say(&text)?;
        }
        Ok(if wrong == 0 { exit::DONE } else { exit::FAILED })
    }
}

impl Lint {
    fn objects(&self) -> Result<Result<Objects, ManifestErrors>> {
        let folder = self.folder.as_deref();
        let (Some(folder), false) = (folder, self.cluster) else {
            let cluster = Cluster::new(&self.options);
            let own = match &self.namespace {
                Some(name) => segment(name).map_err(|error| Usage(format!("--namespace: {error}")))?.to_owned(),
                None => cluster.namespace()?,
            };
            let live = Objects::live(&cluster, Some(own.as_str()).filter(|_| !self.all_namespaces))?;
            let Some(folder) = folder else { return Ok(live) };
            // What is wrong on either side is said; where both can be read, of what they make together.
            return Ok(match (live, Objects::read_in(folder, &own)) {
                (Ok(live), Ok(applied)) => Ok(live.with(applied)),
                (Err(mut live), Err(applied)) => {
                    live.0.extend(applied.0);
                    Err(live)
                }
                (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
            });
        };
        Ok(Objects::read(folder))
    }
}

fn unreadable(errors: &ManifestErrors) -> Vec<Finding> {
    errors
        .0
        .iter()
        .map(|error| Finding {
            code: Code::of_problem(&error.problem),
            weight: Weight::Error,
            file: Some(error.file.display().to_string()),
            document: error.document,
            object: error.object.clone(),
            field: error.path.clone(),
            text: error.problem.to_string(),
        })
        .collect()
}

fn objects_findings(objects: &Objects) -> (Vec<Finding>, Option<String>) {
    let mut findings = secret_files(objects);
    let (compiled, revision) = match compile(&objects.input) {
        Ok(set) => {
            let warnings = set.warnings().iter().map(|Warning { object, path, text, .. }| {
                finding(objects, Code::Suspicious, Weight::Warning, object, path, text)
            });
            (warnings.collect(), Some(set.revision().to_string()))
        }
        Err(errors) => {
            let errors = errors.iter().map(|CompileError { object, path, text }| {
                finding(objects, Code::NotCompiled, Weight::Error, object, path, text)
            });
            (errors.collect::<Vec<_>>(), None)
        }
    };
    for one in &objects.located {
        let object = one.manifest.describe();
        for violation in validate(&one.manifest) {
            // The compiler checks the rules of the schema too, and says more about what to do.
            let said = compiled.iter().any(|f| {
                f.weight == Weight::Error
                    && f.object.as_deref() == Some(&object)
                    && (f.field.starts_with(&violation.path) || violation.path.starts_with(&f.field))
            });
            if !said {
                let (path, text) = (&violation.path, &violation.message);
                findings.push(finding(objects, Code::Schema, Weight::Error, &object, path, text));
            }
        }
    }
    findings.extend(compiled);
    (findings, revision)
}

fn finding(objects: &Objects, code: Code, weight: Weight, object: &str, path: &str, text: &str) -> Finding {
    let place = objects.place(object);
    Finding {
        code,
        weight,
        file: place.map(|(file, _)| file.to_owned()),
        document: place.map(|(_, document)| document),
        object: Some(object.to_owned()),
        field: path.to_owned(),
        text: text.to_owned(),
    }
}

/// The sidecar does not start on such a file.
fn secret_files(objects: &Objects) -> Vec<Finding> {
    let secrets = objects.located.iter().filter(|one| matches!(one.manifest, Manifest::Secret(_)));
    let mut files: Vec<&Path> = secrets.map(|one| one.file.as_path()).collect();
    files.dedup();
    let exposed = files.into_iter().filter_map(|file| {
        let mode = std::fs::metadata(file).ok()?.mode() & 0o7777;
        (mode & 0o037 != 0).then(|| Finding {
            code: Code::Exposed,
            weight: Weight::Error,
            file: Some(file.display().to_string()),
            document: None,
            object: None,
            field: String::new(),
            text: format!("holds a Secret and is open to others (mode {mode:o}): run `chmod 600 {}`", file.display()),
        })
    });
    exposed.collect()
}
