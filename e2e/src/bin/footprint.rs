//! What one sidecar weighs: its program, the time from exec until it listens, and its memory idle, with 1,000 idle TLS sessions,
//! and before an agent that asks for 1 GiB and does not read it. See `scripts/footprint.sh`.
//!
//! Figures, not verdicts: bounds stand in `docs/benchmarks.md`. It fails when an answer is not whole.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::evidence;
use e2e::postgres::Server;
use e2e::proxy::{SIDECAR, Sidecar, binary};
use e2e::usage;
use e2e::wire::Wire;
use e2e::world::{self, Policy};
use serde_json::{Value, json};

const STARTS: usize = 21;
const SESSIONS: usize = 1000;
/// 1,000 bytes of data each, so 1 GiB and a little more in all.
const WIDE_ROWS: u64 = 1_100_000;
const WIDE: &str = "SELECT id, pad FROM wide";
const MASKED: &str = "SELECT id, pad, email FROM wide";
/// How long the agent does not read.
const STALL: Duration = Duration::from_secs(10);
/// Until what a start left behind has settled.
const SETTLE: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    evidence::begin()?;
    let server = world::server_for(SESSIONS)?;
    server.admin(&format!(
        "CREATE TABLE wide AS SELECT n AS id, repeat(md5(n::text), 31) AS pad, 'a' || n || '@example.com' AS email
         FROM generate_series(1, {WIDE_ROWS}) n; GRANT ALL ON wide TO PUBLIC; VACUUM ANALYZE wide"
    ))?;
    let figures = json!({
        "program_bytes": fs::metadata(binary(SIDECAR)?)?.len(),
        "exec_to_listening_ms": starts(&server)?,
        "idle_sessions": idle(&server)?,
        "stalled_reader": {
            "plain": stalled(&server, WIDE, false)?,
            "masked": stalled(&server, MASKED, false)?,
            "masked_over_tls": stalled(&server, MASKED, true)?,
        },
    });
    println!("{figures:#}");
    evidence::write("footprint", &figures)
}

fn sidecar(server: &Server) -> Result<Sidecar> {
    let policy = Policy::default()
        .rule("{name: wide, action: Allow, verbs: [Select], relations: [public.wide]}")
        .mask("{name: wide, columns: [public.wide.email], method: Partial}");
    world::sidecar(server, &policy)
}

fn rss_kib(sidecar: &Sidecar) -> Result<u64> {
    Ok(usage::of(sidecar.pid().context("the sidecar has ended")?)?.rss_kib)
}

/// Until each port answers, looked at every 10 ms; the same state folder, so that a recording is read again.
fn starts(server: &Server) -> Result<Value> {
    let mut sidecar = sidecar(server)?;
    let mut took = Vec::new();
    for _ in 0..STARTS {
        sidecar.stop();
        let begun = Instant::now();
        sidecar.start_again()?;
        took.push(u64::try_from(begun.elapsed().as_millis())?);
    }
    took.sort_unstable();
    Ok(json!({"starts": STARTS, "least": took.first(), "median": took.get(STARTS / 2), "most": took.last()}))
}

fn idle(server: &Server) -> Result<Value> {
    let sidecar = sidecar(server)?;
    thread::sleep(SETTLE);
    let started = rss_kib(&sidecar)?;
    let login = sidecar.login().trusting(&fs::read_to_string(sidecar.ca_file())?);
    let mut sessions = Vec::new();
    let mut one = 0;
    for number in 0..SESSIONS {
        let mut wire = Wire::connect(sidecar.port(), &login)?;
        let answer = wire.query("SELECT note FROM orders WHERE id = 1")?;
        ensure!(answer.fault.is_none(), "{:?}", answer.fault);
        sessions.push(wire);
        if number == 0 {
            thread::sleep(SETTLE);
            one = rss_kib(&sidecar)?;
        }
    }
    thread::sleep(SETTLE);
    let all = rss_kib(&sidecar)?;
    Ok(json!({"sessions": SESSIONS, "tls": true, "rss_kib": {"none": started, "one": one, "all": all},
        "all_over_none_kib": all.saturating_sub(started)}))
}

fn stalled(server: &Server, sql: &str, tls: bool) -> Result<Value> {
    let sidecar = sidecar(server)?;
    let pid = sidecar.pid().context("the sidecar has ended")?;
    let login = sidecar.login();
    let login = if tls { login.trusting(&fs::read_to_string(sidecar.ca_file())?) } else { login };
    let mut wire = Wire::connect(sidecar.port(), &login)?;
    // What the first rows of any result cost stays.
    let answer = wire.query(&format!("{sql} WHERE id <= 1000"))?;
    ensure!(answer.fault.is_none() && answer.rows.len() == 1000, "{:?}", answer.fault);
    drop(answer);
    thread::sleep(SETTLE);
    let before = usage::of(pid)?;
    wire.within(Duration::from_secs(300))?;
    wire.send_message(b'Q', &[sql.as_bytes(), b"\0"].concat())?;
    let stall = Instant::now();
    let mut during = 0;
    while stall.elapsed() < STALL {
        during = during.max(usage::of(pid)?.rss_kib);
        thread::sleep(Duration::from_millis(50));
    }
    let (mut rows, mut bytes, mut reading) = (0_u64, 0_u64, 0);
    while let Some(message) = wire.read_message()? {
        match message.tag {
            b'D' => {
                rows += 1;
                bytes += u64::try_from(message.body.len())?;
                if rows.is_multiple_of(50_000) {
                    reading = reading.max(usage::of(pid)?.rss_kib);
                }
            }
            b'Z' => break,
            b'E' => ensure!(false, "{:?}", message.fault()),
            _ => {}
        }
    }
    ensure!(rows == WIDE_ROWS && bytes > 1 << 30, "{rows} rows of {bytes} bytes");
    Ok(
        json!({"bytes": bytes, "stalled_s": STALL.as_secs(), "rss_kib": {"before": before.rss_kib, "stalled": during, "read": reading},
        "stalled_over_before_kib": during.saturating_sub(before.rss_kib),
        "peak_over_before_kib": usage::of(pid)?.peak_kib.saturating_sub(before.rss_kib)}),
    )
}
