//! A real PostgreSQL, its catalog, and mask rules.

use std::path::PathBuf;
use std::process::{Command, Output};

use pgsql::{Catalog, Context, Limits, MaskTable, Plan, Refused, SNAPSHOT};
use policy::compile::{Input, Named, compile};
use policy::subject::Subject;
use policy::{MaskRule, TargetKey};

/// Values that must never be seen through a mask.
pub const CANARY: &str = "CANARY";

pub struct Server {
    directory: PathBuf,
    binaries: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn as_postgres(program: &str) -> Command {
    // The server refuses to run as root.
    if std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap() == 0 {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", program]);
        command
    } else {
        Command::new(program)
    }
}

/// As `AGENTACCESS_POSTGRES` says, else the newest that is installed.
fn binaries() -> PathBuf {
    if let Some(chosen) = std::env::var_os("AGENTACCESS_POSTGRES") {
        return PathBuf::from(chosen).join("bin");
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    found.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    found.retain(|folder| folder.join("initdb").exists() && folder.join("pg_ctl").exists());
    found.sort();
    assert!(!found.is_empty(), "PostgreSQL server binaries (Debian: apt-get install postgresql)");
    found.pop().unwrap()
}

impl Server {
    /// Starts a server with the schema of `tests/data/schema.sql`.
    pub fn start() -> Self {
        let binaries = binaries();
        let directory = std::env::temp_dir().join(format!("pgsql-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut permissions = std::fs::metadata(&directory).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o777);
        std::fs::set_permissions(&directory, permissions).unwrap();
        let server = Self { directory, binaries };
        server.stop();
        let data = server.directory.join("data");
        let ran = as_postgres(server.binaries.join("initdb").to_str().unwrap())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let options = format!("-c listen_addresses= -c fsync=off -k {}", server.directory.display());
        let status = as_postgres(server.binaries.join("pg_ctl").to_str().unwrap())
            .arg("-D")
            .arg(&data)
            .args(["-w", "-o", &options, "-l"])
            .arg(server.directory.join("log"))
            .arg("start")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        let ran = server.psql(&[
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/schema.sql"),
        ]);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        server
    }

    fn stop(&self) {
        let data = self.directory.join("data");
        if data.exists() {
            as_postgres(self.binaries.join("pg_ctl").to_str().unwrap())
                .arg("-D")
                .arg(&data)
                .args(["-m", "immediate", "-w", "stop"])
                .output()
                .ok();
            std::fs::remove_dir_all(&self.directory).ok();
        }
    }

    pub fn psql(&self, args: &[&str]) -> Output {
        Command::new("psql")
            .args(["-X", "-q", "-U", "postgres", "-h"])
            .arg(&self.directory)
            .args(args)
            .env("PGOPTIONS", "-c search_path=public -c statement_timeout=20000")
            .output()
            .unwrap()
    }

    /// Runs the statements in one session and returns everything that came back, errors too.
    pub fn run(&self, statements: &[&str]) -> (bool, String) {
        let mut args = vec!["-At", "-v", "VERBOSITY=verbose"];
        for statement in statements {
            args.extend(["-c", statement]);
        }
        let ran = self.psql(&args);
        let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        (ran.status.success() && !text.contains("ERROR:"), text)
    }

    pub fn catalog(&self) -> Catalog {
        let rows: Vec<Vec<String>> = SNAPSHOT
            .iter()
            .map(|sql| {
                let ran = self.psql(&["-At", "-c", sql]);
                assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
                String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
            })
            .collect();
        Catalog::from_rows(&rows).unwrap()
    }
}

/// Mask rules as a policy makes them: (columns, method, inPredicates).
pub fn rules(masks: &[(&str, &str, &str)]) -> Vec<MaskRule> {
    let masks: Vec<serde_json::Value> = masks
        .iter()
        .enumerate()
        .map(|(i, (columns, method, predicates))| {
            serde_json::json!({"name": format!("m{i}"), "columns": [columns], "method": method, "inPredicates": predicates})
        })
        .collect();
    let policy = serde_json::json!({
        "podSelector": {},
        "targets": [{"targetRef": {"name": "db"}, "postgres": {"rules": [], "masks": masks}}],
    });
    let target = serde_json::json!({
        "protocol": "Postgres", "host": "db.example.com", "port": 5432,
        "postgres": {"databases": ["postgres"]}, "credentialRef": {"name": "db"},
    });
    let named = |name: &str, spec| (name.to_owned(), spec);
    let (name, spec) = named("p", policy);
    let policies = vec![Named { namespace: "ns".into(), name, spec: serde_json::from_value(spec).unwrap() }];
    let (name, spec) = named("db", target);
    let targets = vec![Named { namespace: "ns".into(), name, spec: serde_json::from_value(spec).unwrap() }];
    let set = compile(&Input { targets, policies, cluster: Vec::new() }).unwrap();
    let subject = Subject { namespace: "ns".into(), service_account: "default".into(), ..Subject::default() };
    set.view(&subject, &TargetKey { namespace: "ns".into(), name: "db".into() }).masks().to_vec()
}

pub fn plan(sql: &str, catalog: &Catalog, masks: &MaskTable) -> Result<Plan, Refused> {
    pgsql::plan(sql, &Context { catalog, masks, limits: Limits::default() })
}
