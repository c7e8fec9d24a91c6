//! The dashboards of the chart, as Grafana reads them: panels, their places, units and queries.
//!
//! What is not understood is an error and never left out, so that a check over all panels is one over all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Below the root of the repository.
pub const FOLDER: &str = "charts/agentaccess/dashboards";

#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Of its file.
    pub name: String,
    pub uid: String,
    pub title: String,
    pub panels: Vec<Panel>,
    /// Names that `$name` may stand for.
    pub variables: BTreeSet<String>,
    /// Every `datasource` of the file.
    pub datasources: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub struct Panel {
    pub id: u64,
    pub title: String,
    pub description: String,
    pub unit: String,
    /// x, y, width and height, of 24 columns.
    pub place: [u64; 4],
    pub queries: Vec<String>,
}

/// What variables stand for.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    pub namespace: &'a str,
    pub rate_interval: &'a str,
    pub range: &'a str,
}

// === impl Dashboard ===

impl Dashboard {
    /// All of them, in the order of their files.
    ///
    /// # Errors
    /// When one cannot be read, or has another form than ours have.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let folder = root.join(FOLDER);
        let entries = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
        let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        files.iter().map(|file| Self::read(file).with_context(|| format!("{}", file.display()))).collect()
    }

    fn read(file: &Path) -> Result<Self> {
        let json: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        let panels = list(&json, "/panels")?.iter().map(Panel::read).collect::<Result<_>>()?;
        let mut variables = BTreeSet::new();
        for variable in list(&json, "/templating/list")? {
            variables.insert(text(variable, "/name")?);
        }
        let mut datasources = BTreeSet::new();
        datasources_of(&json, &mut datasources);
        Ok(Self {
            name: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            uid: text(&json, "/uid")?,
            title: text(&json, "/title")?,
            panels,
            variables,
            datasources,
        })
    }
}

// === impl Panel ===

impl Panel {
    fn read(json: &Value) -> Result<Self> {
        let title = text(json, "/title")?;
        let read = || {
            let place = |of: &str| number(json, &format!("/gridPos/{of}"));
            let queries: Vec<String> =
                list(json, "/targets")?.iter().map(|target| text(target, "/expr")).collect::<Result<_>>()?;
            if queries.is_empty() {
                bail!("it asks nothing");
            }
            Ok(Self {
                id: number(json, "/id")?,
                title: title.clone(),
                description: text(json, "/description")?,
                unit: text(json, "/fieldConfig/defaults/unit")?,
                place: [place("x")?, place("y")?, place("w")?, place("h")?],
                queries,
            })
        };
        read().with_context(|| format!("panel `{title}`"))
    }

    /// Whether both take one cell of the grid.
    pub fn overlaps(&self, other: &Self) -> bool {
        let ([x, y, w, h], [ox, oy, ow, oh]) = (self.place, other.place);
        x < ox.saturating_add(ow) && ox < x.saturating_add(w) && y < oy.saturating_add(oh) && oy < y.saturating_add(h)
    }
}

// === impl Variables ===

impl Variables<'_> {
    /// The query as Prometheus takes it.
    ///
    /// # Errors
    /// When it has a variable that is not known here.
    pub fn fill(&self, query: &str) -> Result<String> {
        let filled = query
            .replace("$__rate_interval", self.rate_interval)
            .replace("$__range", self.range)
            .replace("$namespace", self.namespace);
        if filled.contains('$') {
            bail!("a variable that is not known in `{filled}`");
        }
        Ok(filled)
    }
}

/// The metrics that a query names: words that begin like ours, or like those of every process.
pub fn metrics(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("agentaccess_") || word.starts_with("process_")).collect()
}

fn datasources_of(json: &Value, into: &mut BTreeSet<String>) {
    match json {
        Value::Object(members) => {
            for (key, value) in members {
                match value.pointer("/uid").and_then(Value::as_str) {
                    Some(uid) if key == "datasource" => _ = into.insert(uid.to_owned()),
                    _ if key == "datasource" => _ = into.insert(value.to_string()),
                    _ => datasources_of(value, into),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| datasources_of(one, into)),
        _ => {}
    }
}

fn list<'a>(json: &'a Value, at: &str) -> Result<&'a Vec<Value>> {
    json.pointer(at).and_then(Value::as_array).with_context(|| format!("no list at {at}"))
}

fn text(json: &Value, at: &str) -> Result<String> {
    let text = json.pointer(at).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(str::to_owned).with_context(|| format!("no text at {at}"))
}

fn number(json: &Value, at: &str) -> Result<u64> {
    json.pointer(at).and_then(Value::as_u64).with_context(|| format!("no number at {at}"))
}
