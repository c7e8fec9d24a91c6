//! What agents do until the process before them is gone.

use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use super::{Crash, DIES};
use crate::proxy::ALICE;
use crate::wire::{Form, Wire};

/// More statements than any point needs to be passed often enough.
const MOST: usize = 400;
const ASKED: Duration = Duration::from_secs(5);

/// One session's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// In every form, the third of which needs an approval.
    Statements,
    /// Of five, and after the first one with a statement that needs an approval.
    Pipelines,
    /// Statements that need an approval.
    Asked,
    /// The same in a pipeline, the second of three.
    AskedInPipeline,
    /// Results that fill segments of the recording.
    Bulk,
}

/// A session that died, which is no error here.
type Alive = Option<()>;

impl Crash {
    /// Until the sidecar is gone.
    pub(super) fn work(&self, work: Work, case: &str) -> Result<()> {
        let Ok(mut wire) = Wire::connect(self.sidecar.port(), &self.sidecar.login()) else { return Ok(()) };
        for turn in 0..MOST {
            if self.turn(work, turn, &mut wire)?.is_none() {
                return Ok(());
            }
        }
        bail!("{case}: still alive after {MOST} turns")
    }

    /// The same without an end of its own.
    pub(super) fn work_until_it_dies(&self, work: Work, case: &str) -> Result<()> {
        let Ok(mut wire) = Wire::connect(self.sidecar.port(), &self.sidecar.login()) else { return Ok(()) };
        let begun = std::time::Instant::now();
        for turn in 0.. {
            if self.turn(work, turn, &mut wire)?.is_none() {
                return Ok(());
            }
            ensure!(begun.elapsed() < 4 * DIES, "{case}: nobody killed it");
        }
        Ok(())
    }

    fn turn(&self, work: Work, turn: usize, wire: &mut Wire) -> Result<Alive> {
        match work {
            Work::Bulk => {
                let sql = format!("SELECT pad, {} AS m FROM big WHERE id <= 400", self.next());
                Ok(finished(wire.query(&sql).ok().and_then(|answer| answer.status)))
            }
            Work::Asked => Ok(self.asked(wire)),
            Work::Statements if turn == 2 => Ok(self.asked(wire)),
            Work::Statements => {
                let forms: Vec<_> = Form::ALL.into_iter().collect();
                let Some((form, format)) = forms.get(turn % forms.len()) else { bail!("no forms") };
                let answer = wire.run(*form, *format, &self.plain(turn.is_multiple_of(2)), &[]);
                Ok(finished(answer.ok().and_then(|answer| answer.status)))
            }
            Work::AskedInPipeline => self.asked_in_pipeline(wire),
            Work::Pipelines if turn == 1 => self.asked_in_pipeline(wire),
            Work::Pipelines => {
                let all: Vec<String> = (0..5_u8).map(|n| self.plain(n.is_multiple_of(2))).collect();
                Ok(pipeline(wire, &all)?.map(drop))
            }
        }
    }

    fn plain(&self, reads: bool) -> String {
        let n = self.next();
        if reads {
            format!("SELECT id, {n} AS m FROM orders WHERE id = 1")
        } else {
            format!("INSERT INTO log VALUES ({n}, 'x')")
        }
    }

    fn asked(&self, wire: &mut Wire) -> Alive {
        let n = self.next();
        wire.send_message(b'Q', format!("DELETE FROM items WHERE id = {n}\0").as_bytes()).ok()?;
        let name = self.sidecar.asked(&format!("id = {n}"), ASKED).ok()?;
        // It may die of the vote.
        let _answer = self.sidecar.vote(ALICE, &name, "approve");
        wire.until_ready().ok()?.last().filter(|last| last.tag == b'Z').map(drop)
    }

    /// A pipeline is never held: it asks, and the same again goes through.
    fn asked_in_pipeline(&self, wire: &mut Wire) -> Result<Alive> {
        let n = self.next();
        let all = [self.plain(false), format!("DELETE FROM items WHERE id = {n}"), self.plain(false)];
        let Some(codes) = pipeline(wire, &all)? else { return Ok(None) };
        ensure!(codes.contains(&"PX001".to_owned()), "no PX001 in a pipeline: {codes:?}");
        let Ok(name) = self.sidecar.asked(&format!("id = {n}"), ASKED) else { return Ok(None) };
        if self.sidecar.vote(ALICE, &name, "approve").is_err() {
            return Ok(None);
        }
        let Some(codes) = pipeline(wire, &all)? else { return Ok(None) };
        ensure!(codes.is_empty(), "an approved pipeline is refused: {codes:?}");
        Ok(Some(()))
    }
}

fn finished(status: Option<u8>) -> Alive {
    (status == Some(b'I')).then_some(())
}

/// Sends the statements with one Sync; the SQLSTATEs that came back, or `None` when the session died.
fn pipeline(wire: &mut Wire, statements: &[String]) -> Result<Option<Vec<String>>> {
    let mut out = BytesMut::new();
    for sql in statements {
        let none: [Option<&str>; 0] = [];
        frontend::parse("", sql, [], &mut out)?;
        frontend::bind("", "", [], none, |_: Option<&str>, _: &mut BytesMut| Ok(IsNull::Yes), [0], &mut out)
            .map_err(|_| anyhow!("these parameters cannot be sent"))?;
        frontend::execute("", 0, &mut out)?;
    }
    frontend::sync(&mut out);
    if wire.send(&out).is_err() {
        return Ok(None);
    }
    let Ok(messages) = wire.until_ready() else { return Ok(None) };
    let whole = messages.last().is_some_and(|last| last.tag == b'Z');
    Ok(whole.then(|| messages.iter().filter_map(|message| Some(message.fault()?.sqlstate)).collect()))
}
