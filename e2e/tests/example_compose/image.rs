//! The shipped stage of the Dockerfile, built line for line with `buildah` from programs that are built already, and
//! tried as its user: nothing but the two programs is in it, and from within they reach a database.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::ports;
use e2e::process::Process;
use e2e::proxy::{CLI, SIDECAR, binary};
use e2e::wait::eventually;
use rustix::process::Signal;
use tempfile::TempDir;

use super::parts::{HOST, Parts, give, told};
use super::{aloud, changes, dockerfile, files, prepared};

const TAG: &str = "agentaccess-example";

/// A store of images of the test's own.
struct Buildah(TempDir);

impl Buildah {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        // Neither overlay mounts nor a container runtime are needed.
        command.env("BUILDAH_ISOLATION", "chroot").args(["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.0.path().join("root")).arg("--runroot").arg(self.0.path().join("run"));
        command.args(words).current_dir("/");
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let (status, text) = told(self.command(words).output().unwrap());
        assert_eq!(status, 0, "buildah {}: {text}", words.join(" "));
        text.trim().to_owned()
    }
}

/// Programs that a debug build needs beside it; a static one needs nothing.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let (status, text) = told(Command::new("ldd").arg(program).output().unwrap());
    if status != 0 || text.contains("statically linked") {
        return BTreeSet::new();
    }
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// What the first stage would leave behind, as a stage that copies it.
fn context(folder: &Path) -> BTreeSet<PathBuf> {
    let image = folder.join("image");
    fs::create_dir_all(image.join("state")).unwrap();
    let mut beside = BTreeSet::new();
    for name in [SIDECAR, CLI] {
        let program = binary(name).unwrap();
        beside.extend(libraries(&program));
        fs::copy(&program, image.join(name)).unwrap();
    }
    let certificates = folder.join("etc/ssl/certs");
    fs::create_dir_all(&certificates).unwrap();
    fs::write(certificates.join("ca-certificates.crt"), "stands for the bundle of the build image\n").unwrap();
    let last: Vec<String> = dockerfile::last_stage().iter().map(|l| format!("{} {}\n", l.word, l.rest)).collect();
    fs::write(folder.join("Dockerfile"), format!("FROM scratch AS build\nCOPY . /\n{}", last.concat())).unwrap();
    beside
}

/// Why no image can be built here, whatever is installed.
fn impossible() -> Option<&'static str> {
    if !rustix::process::getuid().is_root() {
        return Some("only root can");
    }
    (!works("unshare", &["--mount", "true"])).then_some("this machine gives no mount namespace")
}

fn works(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_image_starts_as_its_user_and_reaches_the_database() {
    if let Some(why) = impossible() {
        assert!(std::env::var_os("CI").is_none(), "the image was not built: {why}");
        aloud(&format!("NOT CHECKED: the image of examples/standalone was not built: {why}"));
        return;
    }
    assert!(works("buildah", &["--version"]), "buildah is missing: scripts/setup.sh test");
    let buildah = Buildah(tempfile::tempdir().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let libraries = context(folder.path());
    buildah.run(&["bud", "--quiet", "--layers=false", "-t", TAG, &folder.path().display().to_string()]);
    let about: serde_json::Value = serde_json::from_str(&buildah.run(&["inspect", "--type", "image", TAG])).unwrap();
    let config = &about["OCIv1"]["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/agentaccess-sidecar"]));
    assert_eq!(config["Cmd"], serde_json::json!(["run", "--config", "/etc/agentaccess/agentaccess.yaml"]));
    assert!(config["Volumes"]["/var/lib/agentaccess"].is_object(), "{config}");

    let container = buildah.run(&["from", "--pull-never", "--add-host", &format!("{HOST}:127.0.0.1"), TAG]);
    let mounted = PathBuf::from(buildah.run(&["mount", &container]));
    contents(&mounted);
    for library in &libraries {
        println!("beside the debug build, which is not static: {}", library.display());
        let place = mounted.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(library, place).unwrap();
    }

    let port = ports::free().unwrap();
    let parts = Parts::copy(&changes(port));
    let _server = prepared(&parts);
    let service = parts.compose.service("sidecar");
    let mut volumes = vec![
        format!("{}:/etc/agentaccess:ro", parts.volume("for-sidecar").display()),
        format!("{}:/var/lib/agentaccess", parts.volume("state").display()),
    ];
    for (n, place) in service.list("tmpfs").iter().enumerate() {
        let stands = parts.path().join(format!("tmpfs-{n}"));
        fs::create_dir(&stands).unwrap();
        give(&stands, service.user());
        volumes.push(format!("{}:{place}", stands.display()));
    }
    let inside = |words: &[String]| {
        let mut options = vec!["run", "--cap-drop", "ALL"];
        options.extend(volumes.iter().flat_map(|volume| ["--volume", volume.as_str()]));
        options.extend([container.as_str(), "--"]);
        let mut command = buildah.command(&options);
        command.args(words);
        command
    };
    let run = |words: &[&str]| {
        told(inside(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).output().unwrap())
    };
    let (status, text) = run(&["/agentaccess", "--version"]);
    assert!(status == 0 && text.contains("agentaccess "), "{text}");
    let (status, text) = run(&["/bin/sh", "-c", "true"]);
    assert_ne!(status, 0, "there is a shell: {text}");
    // The host's name is resolved, the 0600 Secret read and the certificate verified by uid 65532 in the image.
    let (status, text) = told(inside(&service.health_check()).output().unwrap());
    assert!(status == 0 && text.contains("lets `orders_agent` in"), "{text}");

    let log = parts.path().join("image.log");
    let words = [dockerfile::words("ENTRYPOINT"), service.list("command")].concat();
    let mut process = Process::start(&mut inside(&words), &log, parts.path(), Signal::TERM).unwrap();
    let started = eventually("the image to serve", Duration::from_secs(20), || ports::listening(port));
    started.unwrap_or_else(|error| panic!("{error}: {}", fs::read_to_string(&log).unwrap()));
    let agent = parts.compose.service("agent");
    let select = ["psql", "-c", "SELECT ssn FROM customers WHERE id = 1"].map(str::to_owned);
    let (status, text) = told(parts.command(&agent, None, &select).output().unwrap());
    assert!(status == 0 && text.contains("[redacted]"), "{text}");
    process.signal(Signal::TERM);
    eventually("the image to end", Duration::from_secs(30), || !ports::listening(port)).unwrap();
    drop(process);
    // Its root could have been read-only: a file of its own would belong to it.
    let written: Vec<PathBuf> = files(&mounted).into_iter().filter(|f| owner(f) == service.user().0).collect();
    assert_eq!(written, Vec::<PathBuf>::new());
    buildah.run(&["rm", &container]);
    buildah.run(&["rmi", "--all", "--force"]);
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// Two programs, a bundle of certificates and an empty folder that the user may write to.
fn contents(root: &Path) {
    let mut files: Vec<String> = files(root).iter().map(|f| f.display().to_string()).collect();
    files.sort();
    let expected = ["/agentaccess", "/agentaccess-sidecar", "/etc/ssl/certs/ca-certificates.crt"];
    assert_eq!(files, expected.map(|file| format!("{}{file}", root.display())));
    let state = fs::metadata(root.join("var/lib/agentaccess")).unwrap();
    assert_eq!((state.uid(), state.gid(), state.mode() & 0o777), (65532, 65532, 0o755));
}
