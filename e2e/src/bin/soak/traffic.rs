//! What one agent does over and over, and what it must hear.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::proxy::Sidecar;
use e2e::wire::{Answer, Form, Format, Login, Wire};
use e2e::world::leak;
use parking_lot::Mutex;

/// Between two statements: what is looked for is drift, not throughput.
const PAUSE: Duration = Duration::from_millis(20);
/// Statements of one connection.
const LIFE: u64 = 500;
/// Latencies that wait to be taken.
const MOST: usize = 100_000;

/// What all agents heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    latencies: Mutex<Vec<Duration>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

pub(crate) struct Agent {
    number: u64,
    port: u16,
    login: Login,
    stop: Arc<AtomicBool>,
    heard: Arc<Heard>,
}

// === impl Heard ===

impl Heard {
    pub(crate) fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.latencies.lock())
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().entry(what).or_default() += 1;
    }

    fn took(&self, took: Duration) {
        let mut all = self.latencies.lock();
        if all.len() < MOST {
            all.push(took);
        }
    }
}

// === impl Agent ===

impl Agent {
    pub(crate) fn new(number: u64, sidecar: &Sidecar, stop: &Arc<AtomicBool>, heard: &Arc<Heard>) -> Self {
        let (stop, heard) = (Arc::clone(stop), Arc::clone(heard));
        Self { number, port: sidecar.port(), login: sidecar.login(), stop, heard }
    }

    /// Until it is told to stop. Its first wrong answer stops all others, too.
    pub(crate) fn run(self) -> Result<()> {
        let mut turn = 0;
        let ended = loop {
            if self.stop.load(Ordering::Relaxed) {
                break Ok(());
            }
            if let Err(error) = self.session(&mut turn) {
                break Err(error.context(format!("agent {} at turn {turn}", self.number)));
            }
        };
        self.stop.store(true, Ordering::Relaxed);
        ended
    }

    fn session(&self, turn: &mut u64) -> Result<()> {
        let mut wire = Wire::connect(self.port, &self.login)?;
        self.heard.count("connections");
        for _ in 0..LIFE {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            *turn += 1;
            self.step(&mut wire, *turn)?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn step(&self, wire: &mut Wire, turn: u64) -> Result<()> {
        let id = (self.number * 10_000_000 + turn).to_string();
        match turn % 10 {
            0 => self.refused(wire, "DROP TABLE orders", "42501"),
            1 => self.refused(wire, "SELECT secret FROM vault", "42501"),
            2 => {
                let answer = self.runs(wire, Form::Extended, "SELECT id, email, ssn, pin FROM customers", &[])?;
                ensure!(answer.rows.len() == 3, "{:?}", answer.texts());
                ensure!(leak(&answer).is_none(), "a masked value came");
                self.heard.count("masked");
                Ok(())
            }
            3 => {
                self.runs(wire, Form::Simple, "BEGIN", &[])?;
                let insert = format!("INSERT INTO log VALUES ({id}, 'soak')");
                self.runs(wire, Form::Simple, &insert, &[])?;
                self.runs(wire, Form::Simple, "ROLLBACK", &[]).map(drop)
            }
            4 => self.runs(wire, Form::Prepared, "SELECT note FROM orders WHERE id = $1", &[Some("7")]).map(drop),
            5 => self.runs(wire, Form::Pipelined, "SELECT id, note FROM orders ORDER BY id", &[]).map(drop),
            6 => self.runs(wire, Form::PortalLimited, "SELECT id FROM items WHERE id < 20", &[]).map(drop),
            7 => self.runs(wire, Form::Extended, "SELECT pad FROM big LIMIT 900", &[]).map(drop),
            8 => self.refused(wire, "SELEC 1", "42601"),
            _ => self.runs(wire, Form::Simple, "SELECT count(*) FROM orders", &[]).map(drop),
        }
    }

    fn runs(&self, wire: &mut Wire, form: Form, sql: &str, parameters: &[Option<&str>]) -> Result<Answer> {
        let begun = Instant::now();
        let answer = wire.run(form, Format::Text, sql, parameters)?;
        self.heard.took(begun.elapsed());
        ensure!(answer.fault.is_none(), "{sql}: {:?}", answer.fault);
        self.heard.count("allowed");
        Ok(answer)
    }

    fn refused(&self, wire: &mut Wire, sql: &str, sqlstate: &str) -> Result<()> {
        let begun = Instant::now();
        let answer = wire.query(sql).with_context(|| sql.to_owned())?;
        self.heard.took(begun.elapsed());
        ensure!(answer.sqlstate() == sqlstate, "{sql}: {:?}", answer.fault);
        ensure!(answer.status == Some(b'I'), "{sql}: the session goes on");
        self.heard.count("refused");
        Ok(())
    }
}
