//! Does an operation cost more the more there is? Ten rules and the most that may be, ten connections and 1,000, an empty
//! recording and one of 1 GiB. See `scripts/growth.sh`.
//!
//! Few and many are measured in turn, each before a sidecar of its own, so that what disturbs the machine disturbs both.
//! Figures, not verdicts: the bound of 1.2 stands in `docs/benchmarks.md`. It fails when an answer is not what was asked for.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::evidence;
use e2e::postgres::Server;
use e2e::proxy::{Setup, Sidecar};
use e2e::usage;
use e2e::wire::Wire;
use e2e::world::{self, Policy};
use serde_json::{Value, json};

const ROUNDS: usize = 5;
/// Of a round: some 3 s, in which the kernel's steps of 10 ms say little.
const STATEMENTS: usize = 10_000;
const SQL: &str = "SELECT note FROM orders WHERE id = 7";

/// How much there is.
#[derive(Clone, Copy)]
struct Size {
    rules: usize,
    sessions: usize,
    recorded: u64,
}

const FEW: Size = Size { rules: 10, sessions: 10, recorded: 0 };
/// `policy::compile::MAX_RULES`: with one more no sidecar starts.
const RULES: usize = 1_000;
const SESSIONS: usize = 1_000;
const RECORDED: u64 = 1 << 30;
/// One policy cannot have more.
const RULES_OF_A_POLICY: usize = 50;
/// Until the recording is that long.
const FILLED: Duration = Duration::from_secs(600);
/// Some 300 kB, all of which is recorded.
const MUCH: &str = "SELECT id, pad FROM big";

/// A sidecar and who is connected to it.
struct Way {
    sidecar: Sidecar,
    sessions: Vec<Wire>,
    /// Of each round, in microseconds.
    cpu: Vec<f64>,
    p50: Vec<f64>,
}

fn main() -> Result<()> {
    evidence::begin()?;
    let server = world::server_for(SESSIONS)?;
    let figures = json!({
        "statements_of_a_round": STATEMENTS, "rounds": ROUNDS,
        "rules": grown(&server, Size { rules: RULES, ..FEW })?,
        "sessions": grown(&server, Size { sessions: SESSIONS, ..FEW })?,
        "recorded_bytes": grown(&server, Size { recorded: RECORDED, ..FEW })?,
    });
    println!("{figures:#}");
    evidence::write("growth", &figures)
}

fn grown(server: &Server, size: Size) -> Result<Value> {
    let (mut few, mut many) = (way(server, FEW)?, way(server, size)?);
    for _ in 0..ROUNDS {
        few.round()?;
        many.round()?;
    }
    let times =
        |one: fn(&Way) -> &Vec<f64>| middle(one(&many).iter().zip(one(&few)).map(|(many, few)| many / few).collect());
    let shown = |way: &Way, size: Size| -> Result<Value> {
        Ok(json!({"rules": size.rules, "sessions": size.sessions, "recorded_bytes": recorded(&way.sidecar)?,
            "cpu_us": middle(way.cpu.clone()), "p50_us": middle(way.p50.clone())}))
    };
    Ok(json!({"few": shown(&few, FEW)?, "many": shown(&many, size)?,
        "cpu_times": times(|way| &way.cpu), "p50_times": times(|way| &way.p50)}))
}

fn way(server: &Server, size: Size) -> Result<Way> {
    let policy =
        Policy::default().without("few").rule("{name: much, action: Allow, verbs: [Select], relations: [public.big]}");
    let own = policy.rules.matches("- {name:").count();
    let mut objects = String::new();
    let more: Vec<String> = (own..size.rules)
        .map(|n| format!("{{name: r{n}, action: Allow, verbs: [Select], relations: [public.t{n}]}}"))
        .collect();
    for (number, rules) in more.chunks(RULES_OF_A_POLICY).enumerate() {
        let empty =
            Policy { approvals: String::new(), rules: String::new(), masks: String::new(), ..Policy::default() };
        let one = rules.iter().fold(empty, |policy, rule| policy.rule(rule));
        objects.push_str(&one.yaml().replace("name: agent,", &format!("name: more-{number},")));
    }
    let setup = Setup { objects, recording_max: Some("4GiB".to_owned()), ..Setup::default() };
    let sidecar = world::sidecar_with(server, &policy, setup)?;
    let mut sessions = Vec::new();
    for _ in 0..size.sessions {
        let mut session = Wire::connect(sidecar.port(), &sidecar.login())?;
        // What the first statement of a session costs is not asked for.
        ask(&mut session)?;
        sessions.push(session);
    }
    fill(&sidecar, &mut sessions, size.recorded)?;
    Ok(Way { sidecar, sessions, cpu: Vec::new(), p50: Vec::new() })
}

fn fill(sidecar: &Sidecar, sessions: &mut [Wire], bytes: u64) -> Result<()> {
    let session = sessions.first_mut().context("nobody is connected")?;
    let deadline = Instant::now() + FILLED;
    while recorded(sidecar)? < bytes {
        ensure!(Instant::now() < deadline, "{} bytes are recorded after {FILLED:?}", recorded(sidecar)?);
        let answer = session.query(MUCH)?;
        ensure!(answer.fault.is_none() && answer.rows.len() == 3_000, "{:?}", answer.fault);
    }
    Ok(())
}

fn ask(session: &mut Wire) -> Result<()> {
    let answer = session.query(SQL)?;
    ensure!(answer.fault.is_none() && answer.rows.len() == 1, "{:?}", answer.fault);
    Ok(())
}

fn recorded(sidecar: &Sidecar) -> Result<u64> {
    let files = fs::read_dir(sidecar.recordings())?;
    files.map(|file| Ok(file?.metadata()?.len())).sum()
}

/// The middle one of an odd number.
fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let value = all.get(all.len() / 2).copied().unwrap_or(f64::NAN);
    (value * 100.0).round() / 100.0
}

// === impl Way ===

impl Way {
    fn round(&mut self) -> Result<()> {
        let pid = self.sidecar.pid().context("the sidecar has ended")?;
        let before = usage::of(pid)?.cpu;
        let mut took = Vec::with_capacity(STATEMENTS);
        let count = self.sessions.len();
        for number in 0..STATEMENTS {
            let session = self.sessions.get_mut(number % count).context("nobody is connected")?;
            let begun = Instant::now();
            ask(session)?;
            took.push(begun.elapsed());
        }
        let used = usage::of(pid)?.cpu.saturating_sub(before);
        took.sort_unstable();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        self.cpu.push(micros(used) / f64::from(u32::try_from(STATEMENTS)?));
        self.p50.push(micros(took.get(STATEMENTS / 2).copied().unwrap_or_default()));
        Ok(())
    }
}
