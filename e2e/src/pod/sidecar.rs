//! The real sidecar in a pod: its own user, behind its own fence.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::{OUTSIDE_V4, Pod, SIDECAR, VERIFIER, said, seeing};
use crate::objects::NAMESPACE;
use crate::process::Process;
use crate::proxy::{self, binary};
use crate::wait;

/// What the sidecar and `verify` are started with.
pub const NONCE: &str = "n0nce0fthistest00";
/// The sidecar's health and metrics.
pub const HEALTH: u16 = 15_020;
/// Declared as the agent's own, in every pod.
pub const INBOUND: u16 = 8_080;

const START: Duration = Duration::from_secs(20);

/// Dropping ends it and removes its folder; the fence stays.
#[derive(Debug)]
pub struct PodSidecar {
    process: Option<Process>,
    folder: TempDir,
    program: PathBuf,
}

// === impl Pod ===

impl Pod {
    /// Installs the fence, as the first container of a pod would. What the kernel sent before is forgotten.
    ///
    /// # Errors
    /// When the installer fails.
    pub fn fence(&self) -> Result<()> {
        let program = binary(proxy::SIDECAR)?;
        let program = program.display();
        self.shell(&format!("{program} init --user {SIDECAR} --own {HEALTH} --inbound {INBOUND}"))?;
        self.settle()?;
        self.tap().forget();
        Ok(())
    }

    /// Runs `verify` as this user.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn verify_as(&self, user: u32, nonce: &str) -> Result<Output> {
        let mut command = self.command(user, binary(proxy::SIDECAR)?);
        Ok(command.args(["verify", "--user", &SIDECAR.to_string(), "--nonce", nonce]).output()?)
    }

    /// Runs `verify` as the third container of a pod would whose sidecar may take `seconds` to begin.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn verify_later(&self, seconds: u16) -> Result<Output> {
        let mut command = self.command(VERIFIER, binary(proxy::SIDECAR)?);
        let arguments = ["verify", "--user", &SIDECAR.to_string(), "--nonce", NONCE, "--wait", &seconds.to_string()];
        Ok(command.args(arguments).output()?)
    }

    /// Runs `verify` as the third container of a pod would.
    ///
    /// # Errors
    /// When it finds something; the text is what it said.
    pub fn verify(&self) -> Result<()> {
        let output = self.verify_as(VERIFIER, NONCE)?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    }

    /// Starts the sidecar with these objects: targets, Secrets, policies. `hosts` is what it knows names by.
    ///
    /// # Errors
    /// When it is not ready within 20 s; the text ends with its log.
    pub fn sidecar(&self, objects: &str, hosts: &str) -> Result<PodSidecar> {
        let mut sidecar = self.prepare(objects, hosts)?;
        sidecar.start(self)?;
        Ok(sidecar)
    }

    /// Its files only, for [`PodSidecar::check`] or a later start.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn prepare(&self, objects: &str, hosts: &str) -> Result<PodSidecar> {
        let folder = tempfile::Builder::new().prefix("agentaccess-pod-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let sidecar = PodSidecar { process: None, program: binary(proxy::SIDECAR)?, folder };
        fs::create_dir(sidecar.place("policies"))?;
        sidecar.write(objects)?;
        fs::write(sidecar.place("hosts"), hosts)?;
        // Outside of the pod: the resolver of this machine has no part in a test. Nobody answers unless the test does.
        fs::write(sidecar.place("resolv.conf"), format!("nameserver {OUTSIDE_V4}\n"))?;
        let config = json!({
            "stateDir": "./state", "policies": "./policies", "metrics": {"listen": format!("0.0.0.0:{HEALTH}")},
            "pod": {
                "nonce": NONCE,
                "subject": {"namespace": NAMESPACE, "serviceAccount": "agent", "labels": {"app": "agent"}},
            },
        });
        fs::write(sidecar.place("agentaccess.yaml"), format!("{config:#}\n"))?;
        fs::create_dir(sidecar.place("state"))?;
        for name in ["policies", "state"] {
            chown(sidecar.place(name), Some(SIDECAR), Some(SIDECAR))?;
        }
        Ok(sidecar)
    }
}

// === impl PodSidecar ===

impl PodSidecar {
    /// Starts it on the same folder, after [`PodSidecar::stop`] or [`PodSidecar::kill9`].
    ///
    /// # Errors
    /// As [`Pod::sidecar`].
    pub fn start(&mut self, pod: &Pod) -> Result<()> {
        let already = self.log().matches("\"event\":\"ready\"").count();
        // Names are known to it alone: its files of hosts and resolver stand over those of the system.
        let inner = pod.command_with(SIDECAR, &self.program, &self.place("hosts"), "/etc/hosts");
        let mut command = seeing(&inner, &self.place("resolv.conf"), "/etc/resolv.conf");
        command.arg("run").arg("--config").arg(self.place("agentaccess.yaml")).current_dir("/");
        let mut process = Process::start(&mut command, &self.place("log"), self.folder.path(), Signal::TERM)?;
        wait::until("the sidecar to be ready", START, || {
            if let Some(status) = process.ended()? {
                bail!("the sidecar ended: {status}");
            }
            Ok((self.log().matches("\"event\":\"ready\"").count() > already).then_some(()))
        })
        .with_context(|| self.log())?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs `check`; what it said.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn check(&self, pod: &Pod) -> Result<String> {
        let mut command = pod.command(SIDECAR, &self.program);
        Ok(said(&command.arg("check").arg("--config").arg(self.place("agentaccess.yaml")).output()?))
    }

    /// Replaces all objects.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, objects: &str) -> Result<()> {
        let (new, place) = (self.place("objects.yaml.new"), self.place("policies/objects.yaml"));
        fs::write(&new, objects)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        chown(&new, Some(SIDECAR), Some(SIDECAR))?;
        fs::rename(&new, &place).with_context(|| place.display().to_string())
    }

    /// What it knows names by from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_hosts(&self, hosts: &str) -> Result<()> {
        // In place: it is the file itself that stands over the system's.
        Ok(fs::write(self.place("hosts"), hosts)?)
    }

    /// Ends it with SIGTERM.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Ends it with SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Of its process, while it runs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the sidecar does not run")?.pid())
    }

    /// The list of names and their addresses.
    pub fn addresses(&self) -> PathBuf {
        self.place("state/addresses")
    }

    /// PEM of the CA that agents of the pod trust.
    pub fn ca_file(&self) -> PathBuf {
        self.place("state/keys/ca.crt")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.place("log")).unwrap_or_default()
    }

    fn place(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}
