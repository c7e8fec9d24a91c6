//! One `initdb` for each test process; every server gets a copy, which takes a tenth of the time.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::{DATABASE, Place, Programs, SUPERUSER};

// Superuser by socket only; everybody else with SCRAM.
const HBA: &str = "\
local all postgres trust
local all all scram-sha-256
host  all postgres all reject
host  all all all scram-sha-256
";

/// The folder, and the shell that removes it when our end of its input closes: a `static` is never dropped.
#[derive(Debug)]
struct Template {
    programs: Programs,
    folder: std::path::PathBuf,
    _remover: Child,
}

static TEMPLATE: OnceLock<Result<Template, String>> = OnceLock::new();

/// Makes `data` a fresh data folder with the database `app`.
pub(super) fn copy(programs: &Programs, data: &Path) -> Result<()> {
    let template = match TEMPLATE.get_or_init(|| Template::new(programs).map_err(|error| format!("{error:#}"))) {
        Ok(template) => template,
        Err(text) => bail!("{text}"),
    };
    if template.programs != *programs {
        return init(programs, data);
    }
    let copied = Command::new("cp").arg("-r").arg(template.folder.join("data")).arg(data).status()?;
    if !copied.success() {
        bail!("copying a data folder to {}: {copied}", data.display());
    }
    fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
    programs.give(data)
}

impl Template {
    fn new(programs: &Programs) -> Result<Self> {
        let place = Place::Memory.folder();
        let folder = tempfile::Builder::new().prefix("agentaccess-pg-template-").tempdir_in(place)?.keep();
        let remover = Command::new("sh")
            .args(["-c", "read -r _; rm -rf -- \"$1\"", "remover"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        init(programs, &folder.join("data"))?;
        Ok(Self { programs: programs.clone(), folder, _remover: remover })
    }
}

fn init(programs: &Programs, data: &Path) -> Result<()> {
    fs::create_dir(data)?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700))?;
    programs.give(data)?;
    let made = programs
        .as_owner("initdb")
        .args(["-U", SUPERUSER, "--encoding=UTF8", "--locale=C", "--no-sync", "--auth=trust", "-D"])
        .arg(data)
        .output()
        .context("initdb")?;
    if !made.status.success() {
        bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    }
    let mut single = programs
        .as_owner("postgres")
        .args(["--single", "-F", "-D"])
        .arg(data)
        .arg("postgres")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = single.stdin.take() {
        writeln!(input, "CREATE DATABASE {DATABASE};")?;
    }
    let status = single.wait()?;
    if !status.success() {
        bail!("making the database `{DATABASE}` failed: {status}");
    }
    fs::write(data.join("pg_hba.conf"), HBA)?;
    let main = data.join("postgresql.conf");
    fs::write(&main, "include 'e2e.conf'\n")?;
    programs.give(data)
}
