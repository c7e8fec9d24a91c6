//! What runs in the agent's container: a script, or a `psql` that is spoken to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
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
        self.psql_in(AGENT)
    }

    /// The same in another pod that is like the agent's.
    pub(crate) fn psql_in(&self, pod: &str) -> Psql {
        let mut child = Command::new("kubectl")
            .args(["exec", "-i", "-n", &self.namespace.name, pod, "-c", AGENT, "--"])
            // The shell stays: without anybody who holds its stderr, containerd 2.4 ends the whole.
            .args(["sh", "-c", "psql -XAtq -v VERBOSITY=verbose 2>&1; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = lines(child.stdout.take().unwrap(), |line| println!("psql: {line}"));
        Psql { input: child.stdin.take().unwrap(), child, lines, number: 0 }
    }
}

/// What a program says, line by line, while it says it.
pub(crate) fn lines(output: ChildStdout, heard: impl Fn(&str) + Send + 'static) -> Receiver<String> {
    let (sender, lines) = sync_channel(10_000);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            heard(&line);
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
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
        // A psql that has ended takes nothing, and answers nothing.
        let _ = writeln!(self.input, "{sql};\n\\echo '{mark}'");
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

/// Prints the figures; answers the 99th percentile.
pub(crate) fn told(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!("{what}: p50 {:?}, p99 {:?}, longest {:?} of {}", at(50), at(99), times[times.len() - 1], times.len());
    at(99)
}
