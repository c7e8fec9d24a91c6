//! Names, help, completion, and the place of things.

use std::os::unix::fs::symlink;

use recording::WriterConfig;

use crate::common::{PROGRAM, record, run, run_as};

const NONE: [&str; 0] = [];

#[test]
fn help_shows_the_name_it_was_called_by() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-agentaccess");
    symlink(PROGRAM, &plugin).unwrap();
    assert!(run_as(&plugin, &["--help"]).out.contains("Usage: kubectl agentaccess [OPTIONS] <COMMAND>"));
    assert!(run(&["replay", "--help"]).out.contains("Usage: agentaccess replay "));
    let none = run(&NONE);
    assert_eq!(none.status, 2);
    let verify = run(&["verify", "--help"]).out;
    for status in ["10  edited at seq N", "13  unsigned tail", "18  not a recording"] {
        assert!(verify.contains(status), "{verify}");
    }
}

#[test]
fn completion_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completion", shell]);
        assert_eq!(ran.status, 0);
        for word in ["approvals", "simulate", "recordings", "suggest", "explain"] {
            assert!(ran.out.contains(word), "{shell} has no {word}");
        }
    }
    assert_eq!(run(&["completion", "cobol"]).status, 2);
}

#[test]
fn the_state_directory_is_found_through_the_configuration() {
    let (state, _) = record(vec![], WriterConfig::default());
    let config = state.dir.path().join("agentaccess.yaml");
    std::fs::write(&config, "stateDir: .\n").unwrap();
    let config = config.display().to_string();
    let ran = run(&["keys", "--config", &config]);
    assert!(ran.out.starts_with(&format!("checkpoint key  {}\n", state.key)), "{}{}", ran.out, ran.err);
    let ran = run(&["keys", "--config", &config, "--state-dir", "/none"]);
    assert!(ran.status == 1 && ran.err.contains("/none/keys/checkpoint.pub"), "{}", ran.err);
    let ran = run(&["sessions", "ls", "--config", "/none.yaml"]);
    assert!(ran.status == 1 && ran.err.contains("cannot read the configuration `/none.yaml`"), "{}", ran.err);
}

#[test]
fn check_is_the_sidecars_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("agentaccess");
    // A copy, since what counts is where the program really lies.
    std::fs::copy(PROGRAM, &program).unwrap();
    let sidecar = folder.path().join("agentaccess-sidecar");
    std::fs::write(&sidecar, "#!/bin/sh\necho \"called with $*\"\nexit 7\n").unwrap();
    std::fs::set_permissions(&sidecar, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = run_as(&program, &["check", "--config", "my.yaml"]);
    assert_eq!((ran.status, ran.out.as_str()), (7, "called with check --config my.yaml\n"), "{}", ran.err);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = std::process::Command::new(PROGRAM)
        .args(["completion", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
