//! Every form of an object's status that the API server had, as `kubectl get --watch` prints it.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use super::inside::lines;

pub(crate) struct Watched {
    child: Child,
    lines: Receiver<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) generation: i64,
    /// In JSON.
    pub(crate) status: String,
}

// === impl Watched ===

impl Watched {
    pub(crate) fn begin(kind: &str, name: &str, namespace: &str) -> Self {
        let path = "jsonpath={.metadata.generation} {.status}{\"\\n\"}";
        let mut child = Command::new("kubectl")
            .args(["get", kind, name, "-n", namespace, "--watch", "-o", path])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap(), |_| ());
        Self { child, lines }
    }

    pub(crate) fn end(mut self) -> Vec<Form> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let form = |line: String| {
            let (generation, status) = line.split_once(' ')?;
            Some(Form { generation: generation.parse().unwrap(), status: status.to_owned() })
        };
        self.lines.iter().filter_map(form).collect()
    }
}

/// Statuses that were there, were written over, and came back: two who write what they think.
pub(crate) fn came_back(forms: &[Form]) -> Vec<&str> {
    let mut texts: Vec<&str> = forms.iter().map(|form| form.status.as_str()).collect();
    texts.dedup();
    let again = |at: usize| texts.get(..at).is_some_and(|before| before.contains(&texts[at]));
    (0..texts.len()).filter(|at| again(*at)).map(|at| texts[at]).collect()
}
