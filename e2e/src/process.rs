//! A child process that cannot outlive the test.
//!
//! Dropping ends it. When the test process itself dies, by a signal or because a `static` holds the fixture, a small
//! shell that reads from us sees the end of its input, ends the child and removes its folder.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

// Reads one word: with it, all was put away in good order; without, we are gone.
const GUARD: &str = r#"
if read -r word; then exit 0; fi
kill -s "$1" "$2" 2>/dev/null
n=0; while kill -0 "$2" 2>/dev/null && [ $n -lt 30 ]; do n=$((n+1)); sleep 0.1; done
kill -s KILL "$2" 2>/dev/null
rm -rf -- "$3"
"#;

/// A running program, its standard output and error in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    guard: Child,
    leash: Option<ChildStdin>,
    stop: Signal,
}

impl Process {
    /// Starts `command`; its output is appended to `log`, and `folder` goes with it when the test process dies.
    /// `stop` is the signal that ends it in good order.
    ///
    /// # Errors
    /// When the program or its guard cannot be started.
    pub fn start(command: &mut Command, log: &Path, folder: &Path, stop: Signal) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard", &stop.as_raw().to_string(), &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the guard of a child process")?;
        let leash = guard.stdin.take();
        Ok(Self { child, guard, leash, stop })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the kernel does not know it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal; nothing happens when it has ended already.
    pub fn signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(None))
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It may end between the look and the signal; then there is nobody to tell.
            let _gone = kill_process(pid, signal);
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it runs longer than `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait::until("a child process to end", within, || Ok(child.try_wait()?))
    }

    /// Ends it with SIGKILL, as a crash would.
    pub fn kill9(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }

    /// Ends it in good order, or after `within` with SIGKILL.
    pub fn stop(&mut self, within: Duration) {
        self.signal(self.stop);
        if self.wait(within).is_err() {
            self.kill9();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
        if let Some(mut leash) = self.leash.take() {
            let _gone = leash.write_all(b"done\n");
        }
        let _status = self.guard.wait();
    }
}
