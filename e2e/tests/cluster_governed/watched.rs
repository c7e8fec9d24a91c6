//! Every form of an object's status that the API server had, as `kubectl get --watch` prints it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

pub(crate) struct Watched {
    child: Child,
    lines: Receiver<Form>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) generation: i64,
    /// `metadata.resourceVersion`, and the status in JSON after it.
    pub(crate) version: String,
    pub(crate) status: String,
}

// === impl Watched ===

impl Watched {
    pub(crate) fn begin(kind: &str, name: &str, namespace: &str) -> Self {
        let path = "jsonpath={.metadata.generation} {.metadata.resourceVersion} {.status}{\"\\n\"}";
        let mut child = Command::new("kubectl")
            .args(["get", kind, name, "-n", namespace, "--watch", "-o", path])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut parts = line.splitn(3, ' ');
                let (Some(generation), Some(version), Some(status)) = (parts.next(), parts.next(), parts.next()) else {
                    continue;
                };
                let form = Form {
                    generation: generation.parse().unwrap(),
                    version: version.to_owned(),
                    status: status.to_owned(),
                };
                if sender.send(form).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    pub(crate) fn end(mut self) -> Vec<Form> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

/// Statuses that were there, were written over, and came back: two who write what they think.
pub(crate) fn came_back(forms: &[Form]) -> Vec<&str> {
    let mut texts: Vec<&str> = forms.iter().map(|form| form.status.as_str()).collect();
    texts.dedup();
    let again = |at: usize| texts.get(..at).is_some_and(|before| before.contains(&texts[at]));
    (0..texts.len()).filter(|at| again(*at)).map(|at| texts[at]).collect()
}
