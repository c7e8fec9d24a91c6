//! The sidecar's process, as somebody finds it who shares its process namespace: nothing in it can be read, by the
//! agent or by a program of the sidecar's own user. Pods share no such namespace (admission sees to it); this is what
//! holds if one did.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Stdio};

use e2e::objects;
use e2e::pod::{AGENT, Pod, SIDECAR, can_run};
use e2e::world::Policy;

/// Memory, keys in the environment, the way to its files, its open sockets and recordings.
const FILES: [&str; 6] = ["mem", "environ", "maps", "auxv", "io", "stack"];
const LINKS: [&str; 3] = ["root", "cwd", "exe"];
const FOLDERS: [&str; 3] = ["fd", "map_files", "fdinfo"];

/// What this user can open of a process, and how what it cannot was refused.
fn opened(pod: &Pod, user: u32, pid: u32) -> Vec<String> {
    let place = |name: &str| format!("/proc/{pid}/{name}");
    let denied = |name: &str, result: std::io::Result<()>| match result {
        Ok(()) => Some(name.to_owned()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => panic!("{name} of {pid}, as {user}: {error}"),
    };
    let look = || {
        let files = FILES.iter().filter_map(|name| {
            // The check of some is made when they are read. Of memory nothing lies at 0.
            let read = || match *name {
                "mem" => File::open(place(name)).map(drop),
                _ => File::open(place(name))?.read(&mut [0; 64]).map(drop),
            };
            denied(name, read())
        });
        let links = LINKS.iter().filter_map(|name| denied(name, fs::read_link(place(name)).map(drop)));
        let folders = FOLDERS.iter().filter_map(|name| denied(name, fs::read_dir(place(name)).map(drop)));
        files.chain(links).chain(folders).collect()
    };
    pod.within(user, look).unwrap()
}

/// A process of this user that hides nothing.
fn ordinary(pod: &Pod, user: u32) -> Child {
    let mut child = pod.command(user, "cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // What it says comes from the program itself: until then it is another one, on the way to it.
    child.stdin.as_mut().unwrap().write_all(b"!").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    child
}

#[test]
fn nothing_in_the_sidecars_process_can_be_read() {
    if !can_run() {
        return;
    }
    let pod = Pod::new().unwrap();
    pod.fence().unwrap();
    let target = objects::target_at("db", "orders-db.example", 5_432, None, "nobody", "nothing");
    let sidecar = pod.sidecar(&(target + &Policy::default().yaml()), "").unwrap();
    let pid = sidecar.pid().unwrap();
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.contains("agentaccess-sidecar"), "{line}");

    for user in [AGENT, SIDECAR] {
        // What is refused below is there to be read.
        let mut child = ordinary(&pod, user);
        let readable = opened(&pod, user, child.id());
        assert!(
            ["mem", "environ", "root", "fd"].iter().all(|name| readable.contains(&(*name).to_owned())),
            "{readable:?}"
        );
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(opened(&pod, user, pid), [""; 0], "as user {user}");
    }
    // Sockets without a place in the file system have no owner who is asked.
    let sockets = || pod.shell("cat /proc/net/unix").unwrap();
    assert!(!sockets().contains('@'), "{}", sockets());
    let name = SocketAddr::from_abstract_name("one-that-would-show").unwrap();
    let _one = pod.within(AGENT, || UnixDatagram::bind_addr(&name).unwrap()).unwrap();
    assert!(sockets().contains("@one-that-would-show"), "{}", sockets());
}
