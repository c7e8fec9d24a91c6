//! A sidecar that is killed while agents work, again and again on one recording, and what is left of it.
//!
//! The oracle is the server's log ([`Crash::judge`]): each statement that ran has its intent in the recording, each that needed an
//! approval has one that was granted before; each recording is read again by the next start, and what was open then ends as
//! `interrupted`.

mod judge;
mod work;

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

pub use judge::Judged;
pub use work::Work;

use crate::postgres::Server;
use crate::proxy::{Setup, Sidecar};
use crate::recorded::{self, INTACT, UNSIGNED_TAIL};
use crate::wait;
use crate::wire::Wire;
use crate::world::{self, Policy, ROLE};

const RULES: &str = "
          - {name: reads, action: Allow, verbs: [Select], relations: [public.orders, public.items, public.big]}
          - {name: adds, action: Allow, verbs: [Insert], relations: [public.log]}
          - {name: asks, action: RequireApproval, approval: person, verbs: [Delete], relations: [public.items]}
";
/// The first number in a statement; what may be deleted has one of those up to [`LAST`].
const FIRST: u32 = 1_000_000;
const LAST: u32 = FIRST + 60_000;
/// Within which a failpoint is met once the work has begun.
const DIES: Duration = Duration::from_secs(10);

/// A server, and a sidecar before it that is started again after each crash.
#[derive(Debug)]
pub struct Crash {
    pub server: Server,
    pub sidecar: Sidecar,
    /// The last number used in a statement: each is of its own.
    number: AtomicU32,
}

/// When a kill comes.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// So many statements after the start,
    pub statements: u32,
    /// and so much later.
    pub after: Duration,
    /// PostgreSQL's processes for the sessions are killed first, so much before.
    pub server_before: Option<Duration>,
}

// === impl Crash ===

impl Crash {
    /// With failpoints, and segments of a recording that fill soon.
    ///
    /// # Errors
    /// When the server or the sidecar do not start.
    pub fn new() -> Result<Self> {
        let server = world::server()?;
        server.admin(&format!("INSERT INTO items SELECT n, 'x' FROM generate_series({FIRST}, {LAST}) n"))?;
        let policy = Policy { rules: RULES.to_owned(), ..Policy::default() };
        let config = json!({"limits": {"recordingSegment": 65_536}});
        let setup = Setup { failpoints: true, config: Some(config), ..Setup::default() };
        let sidecar = world::sidecar_with(&server, &policy, setup)?;
        Ok(Self { server, sidecar, number: AtomicU32::new(FIRST) })
    }

    /// How many operations a start and the beginning of its first session are: those come before the agent's work.
    fn login(&mut self) -> Result<u64> {
        drop(Wire::connect(self.sidecar.port(), &self.sidecar.login())?);
        self.sidecar.stop();
        let lines = recorded::lines(&self.sidecar.recordings())?;
        Ok(u64::try_from(lines.iter().filter(|line| line["kind"] == "intent").count())?)
    }

    /// Statements so far.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    fn next(&self) -> u32 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Starts with the point armed, works until the process is gone, and looks at what it left.
    ///
    /// # Errors
    /// When it does not die there, or leaves a recording that is not sound.
    pub fn at(&mut self, point: &str, pass: u64, work: Work) -> Result<()> {
        let case = format!("{point}:{pass} {work:?}");
        self.arm(&format!("{point}:{pass}"));
        match self.sidecar.start_again() {
            Ok(()) => {
                self.work(work, &case)?;
                let status = self.sidecar.wait(DIES)?;
                ensure!(status.signal() == Some(9), "{case}: {status}");
            }
            // A start looks at its target through the gate, so it may die of that.
            Err(error) => ensure!(format!("{error:#}").contains("SIGKILL"), "{case}: {error:#}"),
        }
        self.left(&case)
    }

    /// A start that dies before it listens.
    fn at_start(&mut self, point: &str, pass: u64) -> Result<()> {
        self.arm(&format!("{point}:{pass}"));
        let status = self.sidecar.run_to_end()?;
        ensure!(status.signal() == Some(9), "{point}:{pass} at start: {status}");
        self.left(&format!("{point}:{pass} at start"))
    }

    /// So many crashes with plain statements and so many with pipelines, each at a later pass than the one before: some while
    /// a session begins, most in the work of the agent. `step` passes belong to one operation.
    ///
    /// # Errors
    /// As [`Crash::at`].
    pub fn at_passes(&mut self, point: &str, step: u64, times: u64) -> Result<()> {
        let login = self.login()?;
        for time in 0..times {
            self.at(point, (login - 3 + 2 * time) * step, Work::Statements)?;
            self.at(point, (login + 1 + time) * step + time % step, Work::Pipelines)?;
        }
        Ok(())
    }

    /// So many crashes while a segment of the recording gives way to the next, and three at a start.
    ///
    /// # Errors
    /// As [`Crash::at`].
    pub fn at_rotations(&mut self, times: u64) -> Result<()> {
        for time in 0..times {
            // The first three passes are those of the segment that each start makes; each further statement or two are one
            // segment, which is three passes.
            self.at("mid_rotate", 4 + time, Work::Bulk)?;
        }
        (1..=3).try_for_each(|pass| self.at_start("mid_rotate", pass))
    }

    fn arm(&mut self, point: &str) {
        self.sidecar.set_environment(&[("AGENTACCESS_FAILPOINT", point)]);
    }

    /// No point at all: sessions do each of these works at once, and the kill comes when it comes.
    ///
    /// # Errors
    /// When they do not get so far, or the recording that is left is not sound.
    pub fn at_any_moment(&mut self, works: &[Work], moment: &Moment) -> Result<()> {
        self.sidecar.set_environment(&[]);
        self.sidecar.start_again()?;
        let case = format!("{works:?}, killed at {moment:?}");
        let enough = self.begun() + moment.statements;
        let this = &*self;
        thread::scope(|scope| {
            let sessions: Vec<_> =
                works.iter().map(|work| scope.spawn(|| this.work_until_it_dies(*work, &case))).collect();
            let begun = wait::eventually("the sessions to work", 2 * DIES, || this.begun() >= enough);
            thread::sleep(moment.after);
            if let Some(before) = moment.server_before {
                this.kill_backends()?;
                thread::sleep(before);
            }
            // By its number, since the sessions have the sidecar.
            let pid = this.sidecar.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
            kill_process(pid.context("the sidecar is not running")?, Signal::KILL)?;
            for session in sessions {
                session.join().map_err(|_| anyhow!("{case}: a session panicked"))??;
            }
            begun.with_context(|| case.clone())
        })?;
        ensure!(self.sidecar.wait(DIES)?.signal() == Some(9), "{case}: it ended before it was killed");
        self.left(&case)?;
        wait::until("the server to have recovered", DIES, || Ok(self.server.admin("SELECT 1").ok()))?;
        Ok(())
    }

    /// As the kernel does when memory is short; the server then ends all others, and recovers.
    fn kill_backends(&self) -> Result<()> {
        let pids = self.server.admin(&format!("SELECT pid FROM pg_stat_activity WHERE usename = '{ROLE}'"))?;
        for pid in pids.lines() {
            // It may have ended meanwhile.
            let _gone = kill_process(Pid::from_raw(pid.parse()?).context("no process")?, Signal::KILL);
        }
        Ok(())
    }

    /// What a kill leaves: a recording that is sound, at most with an unsigned tail.
    fn left(&self, case: &str) -> Result<()> {
        let verified = self.sidecar.verify(&self.sidecar.recordings(), None)?;
        ensure!([INTACT, UNSIGNED_TAIL].contains(&verified.status), "{case}: {verified:?}");
        Ok(())
    }

    /// After the last crash: what ran against what the recording says.
    ///
    /// # Errors
    /// When anything ran that the recording does not tell of before, or without the approval that it needed; when the
    /// recording does not verify as intact, or somebody cannot work any more.
    pub fn judge(&mut self) -> Result<Judged> {
        self.sidecar.set_environment(&[]);
        self.sidecar.start_again()?;
        let mut wire = Wire::connect(self.sidecar.port(), &self.sidecar.login())?;
        let answer = wire.query(judge::LAST_LOOK)?;
        ensure!(answer.texts() == [["1"]], "the last start does not answer: {answer:?}");
        drop(wire);
        self.sidecar.stop();
        let idle = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'");
        wait::until("the server to be done", DIES, || Ok((self.server.admin(&idle)? == "0").then_some(())))?;
        let verified = self.sidecar.verify(&self.sidecar.recordings(), None)?;
        ensure!(verified.status == INTACT, "{verified:?}");
        judge::judge(&self.server, &recorded::lines(&self.sidecar.recordings())?)
    }
}
