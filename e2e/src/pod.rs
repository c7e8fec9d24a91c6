//! A pod without a cluster: a network namespace with IPv4 and IPv6 and one device that leads out, and behind it another
//! namespace where every address answers. What left the pod is read off the wire there ([`Wiretap`]), below any fence.
//!
//! Only root can make one. Both namespaces go with the test process.

mod relay;
mod sidecar;
mod tap;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fs::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, capability_is_in_bounding_set, clear_ambient_capability_set,
    move_into_link_name_space, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::wait;

pub use sidecar::{HEALTH, INBOUND, NONCE, PodSidecar};
pub use tap::{Packet, Wiretap};

/// Whom the fence lets out.
pub const SIDECAR: u32 = 1_337;
/// Whom it holds.
pub const AGENT: u32 = 1_001;
/// Who proves it.
pub const VERIFIER: u32 = 65_533;
/// Addresses of the pod and of what it sees first.
pub const POD_V4: &str = "10.77.0.2";
pub const POD_V6: &str = "fd77::2";
pub const OUTSIDE_V4: &str = "10.77.0.1";
pub const OUTSIDE_V6: &str = "fd77::1";
const WITHIN: Duration = Duration::from_secs(10);
const POD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];

/// Set to 1 by who knows that tests which make pods do not run, and wants the others to.
const WITHOUT_ROOT: &str = "AGENTACCESS_WITHOUT_ROOT";

/// Whether a pod can be made here. A test that did not run must not look like one that passed, so without root this fails
/// unless somebody said that it may be left out; then it says so.
///
/// # Panics
/// Without root, unless `AGENTACCESS_WITHOUT_ROOT=1` is set.
pub fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let left_out = std::env::var_os(WITHOUT_ROOT).is_some_and(|value| value == "1");
        assert!(
            left_out,
            "a network namespace needs root: run as root, or set {WITHOUT_ROOT}=1 to leave this test out"
        );
        eprintln!("NOT RUN: a network namespace needs root, and {WITHOUT_ROOT}=1 is set");
    }
    root
}

#[derive(Debug)]
pub struct Pod {
    inside: Namespace,
    outside: Namespace,
    tap: Wiretap,
}

/// Lives as long as it is held here, or as somebody is in it.
#[derive(Debug)]
struct Namespace(File);

// === impl Pod ===

impl Pod {
    /// # Errors
    /// When a namespace or a device cannot be made.
    pub fn new() -> Result<Self> {
        let (inside, outside) = (Namespace::new()?, Namespace::new()?);
        let there = outside.path();
        inside.shell(&format!(
            "ip link set lo up
             ip link add eth0 address {mac} type veth peer name pod0 netns {there}
             ip addr add {POD_V4}/24 dev eth0
             ip -6 addr add {POD_V6}/64 dev eth0 nodad
             ip link set eth0 up
             echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range",
            mac = POD_MAC.map(|byte| format!("{byte:02x}")).join(":"),
            there = there.display(),
        ))?;
        // Whatever is dialled there is local there.
        outside.shell(&format!(
            "ip link set lo up
             ip addr add {OUTSIDE_V4}/24 dev pod0
             ip -6 addr add {OUTSIDE_V6}/64 dev pod0 nodad
             ip link set pod0 up
             ip route add local default dev lo table main
             ip -6 route add local default dev lo table main"
        ))?;
        inside.shell(&format!("ip route add default via {OUTSIDE_V4}; ip -6 route add default via {OUTSIDE_V6}"))?;
        // A new link takes a moment to know its neighbours. A reset says that both ways are open.
        for there in [OUTSIDE_V4, OUTSIDE_V6] {
            let there = SocketAddr::new(there.parse()?, 9);
            let reset = || match TcpStream::connect_timeout(&there, WITHIN) {
                Err(error) => error.kind() == ErrorKind::ConnectionRefused,
                Ok(_) => false,
            };
            inside.within(0, || wait::eventually("the link of a pod", WITHIN, reset))??;
        }
        let tap = outside.within(0, || Wiretap::start(POD_MAC))??;
        Ok(Self { inside, outside, tap })
    }

    /// Every packet that has left the pod.
    pub fn tap(&self) -> &Wiretap {
        &self.tap
    }

    /// Runs a shell script as root inside.
    ///
    /// # Errors
    /// When it fails; the text is what it said.
    pub fn shell(&self, script: &str) -> Result<String> {
        self.inside.shell(script)
    }

    /// The same outside.
    ///
    /// # Errors
    /// When it fails.
    pub fn shell_outside(&self, script: &str) -> Result<String> {
        self.outside.shell(script)
    }

    /// A program inside, as this user, without capabilities and with no way to get any.
    pub fn command(&self, user: u32, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.inside.enter();
        let id = user.to_string();
        command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(program);
        command
    }

    /// The same, where the program sees `file` in the place of another.
    pub fn command_with(&self, user: u32, program: impl AsRef<OsStr>, file: &Path, instead: &str) -> Command {
        seeing(&self.command(user, program), file, instead)
    }

    /// Does something inside, as this user, without capabilities.
    ///
    /// # Errors
    /// When the namespace or the user cannot be taken on.
    pub fn within<T: Send>(&self, user: u32, job: impl FnOnce() -> T + Send) -> Result<T> {
        self.inside.within(user, job)
    }

    /// Does something inside as root that holds no capability and can get none: root of a container that drops all.
    ///
    /// # Errors
    /// When the namespace cannot be entered or a capability not be given up.
    pub fn within_as_bare_root<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T> {
        self.inside.within(0, || give_capabilities_up().map(|()| job()))?
    }

    /// Does something outside, as root.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn without<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T> {
        self.outside.within(0, job)
    }

    /// Leads this port of every address outside to a server of the test.
    ///
    /// # Errors
    /// When the port is in use.
    pub fn relay(&self, port: u16, server: u16) -> Result<()> {
        relay::serve(self.without(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??, server);
        Ok(())
    }

    /// Waits until everything that was sent before this call has been tapped.
    ///
    /// # Errors
    /// When the packet that marks it does not arrive.
    pub fn settle(&self) -> Result<()> {
        self.within(SIDECAR, || self.tap.mark())?
    }
}

// === impl Namespace ===

impl Namespace {
    fn new() -> Result<Self> {
        let mut maker =
            Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (mut to, mut from) = (maker.stdin.take().context("no pipe")?, maker.stdout.take().context("no pipe")?);
        // Once it answers it is in the new namespace.
        to.write_all(b"!")?;
        from.read_exact(&mut [0])?;
        let made = File::open(format!("/proc/{}/ns/net", maker.id()))?;
        drop(to);
        ensure!(maker.wait()?.success(), "unshare failed");
        Ok(Self(made))
    }

    /// For other processes too.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--");
        command
    }

    fn shell(&self, script: &str) -> Result<String> {
        let output = self.enter().args(["sh", "-euc", script]).output()?;
        ensure!(output.status.success(), "{script}: {}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// On a thread of its own, since a thread that is somebody else stays it.
    fn within<T: Send>(&self, user: u32, job: impl FnOnce() -> T + Send) -> Result<T> {
        let run = || -> Result<T> {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
            if user != 0 {
                let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
                set_thread_groups(&[])?;
                set_thread_res_gid(gid, gid, gid)?;
                set_thread_res_uid(uid, uid, uid)?;
                set_no_new_privs(true)?;
            }
            Ok(job())
        };
        thread::scope(|scope| scope.spawn(run).join()).map_err(|_| anyhow!("panicked inside of a pod"))?
    }
}

/// The same program, which sees `file` in the place of another.
fn seeing(inner: &Command, file: &Path, instead: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", "mount --bind \"$0\" \"$1\"; shift; exec \"$@\""]);
    command.arg(file).arg(instead).arg(inner.get_program()).args(inner.get_args());
    command
}

/// All of the thread's, for good.
fn give_capabilities_up() -> Result<()> {
    for (_, capability) in CapabilitySet::all().iter_names() {
        // An older kernel does not know the newest.
        if capability_is_in_bounding_set(capability).is_ok_and(|there| there) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(set_no_new_privs(true)?)
}

/// What a program said, for a message.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
