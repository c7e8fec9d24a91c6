//! What runs in the agent's container: a script, or a `psql` that is spoken to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use e2e::cluster::{Answer, Cluster};

use super::database::{AGENT, World};

/// A shell in the agent's container.
pub(crate) fn sh(cluster: &Cluster, namespace: &str, pod: &str, script: &str) -> Answer {
    cluster.run(&["exec", "-n", namespace, pod, "-c", "agent", "--", "sh", "-c", script], None).unwrap()
}

impl World {
    /// One open connection of the agent.
    pub(crate) fn psql(&self) -> Psql {
        let mut child = Command::new("kubectl")
            .args(["exec", "-i", "-n", &self.namespace.name, AGENT, "-c", AGENT, "--"])
            .args(["sh", "-c", "exec psql -XAtq -v VERBOSITY=verbose 2>&1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Psql { input: child.stdin.take().unwrap(), child, lines, number: 0 }
    }
}

/// `psql` in the agent's container, which is spoken to line by line.
pub(crate) struct Psql {
    input: ChildStdin,
    child: Child,
    lines: Receiver<String>,
    number: u32,
}

impl Psql {
    pub(crate) fn send(&mut self, sql: &str) -> String {
        self.number += 1;
        let mark = format!("-- end {} --", self.number);
        writeln!(self.input, "{sql}\n\\echo '{mark}'").unwrap();
        mark
    }

    /// What psql printed until the mark, or until it ended.
    pub(crate) fn until(&self, mark: &str, within: Duration) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.lines.recv_timeout(within) {
                Ok(line) if line == mark => return Some(text),
                Ok(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Err(_) => return None,
            }
        }
    }

    /// One statement and its answer; `None` when there is none in time.
    pub(crate) fn ask(&mut self, sql: &str) -> Option<String> {
        let mark = self.send(sql);
        self.until(&mark, Duration::from_secs(30))
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
