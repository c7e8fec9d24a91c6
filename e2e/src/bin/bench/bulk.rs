//! 50,000 rows at a time, by a client that looks at nothing but tags and lengths: what it costs is small beside what
//! is measured, and pgbench has no COPY.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

use crate::contestants::{Entrance, ROWS};
use crate::login;
use crate::plan::{Mode, Row};
use crate::run::Operations;
use crate::usage;

const SELECT: &str = "SELECT id, name, note, amount FROM bench_rows";
const COPY: &str = "COPY bench_rows TO STDOUT";
const STATEMENT: &str = "bulk";
const READ: usize = 64 * 1024;
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs it: each client over a connection and a thread of its own, until the time is over and its operation done.
///
/// # Errors
/// When any operation fails or has not all the rows.
pub(crate) fn run(row: Row, entrance: Entrance, seconds: u32) -> Result<Operations> {
    let request = request(row)?;
    let connections: Vec<TcpStream> =
        (0..row.clients).map(|_| connect(row, entrance)).collect::<Result<_>>().context("connecting")?;
    let start = Barrier::new(connections.len());
    let parts: Vec<Result<Part>> = thread::scope(|scope| {
        let clients: Vec<_> = connections
            .into_iter()
            .map(|mut tcp| {
                let (start, request) = (&start, &request);
                scope.spawn(move || {
                    start.wait();
                    repeat(&mut tcp, request, Duration::from_secs(u64::from(seconds)))
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().ok().context("a client panicked")?).collect()
    });
    let mut all = Operations::default();
    for part in parts {
        let Part { latencies, ends, tps } = part?;
        all.latencies.extend(latencies);
        all.ends.extend(ends);
        all.tps += tps;
    }
    Ok(all)
}

/// One client's.
#[derive(Debug)]
struct Part {
    latencies: Vec<u64>,
    ends: Vec<u64>,
    tps: f64,
}

fn repeat(tcp: &mut TcpStream, request: &[u8], time: Duration) -> Result<Part> {
    let began = Instant::now();
    let mut part = Part { latencies: Vec::new(), ends: Vec::new(), tps: 0.0 };
    let mut buffer = vec![0; READ];
    while began.elapsed() < time {
        let sent = Instant::now();
        tcp.write_all(request)?;
        let rows = drain(tcp, &mut buffer)?;
        if rows != ROWS {
            bail!("{rows} rows came, not {ROWS}");
        }
        part.latencies.push(u64::try_from(sent.elapsed().as_micros())?);
        part.ends.push(usage::now());
    }
    part.tps = f64::from(u32::try_from(part.ends.len())?) / began.elapsed().as_secs_f64();
    Ok(part)
}

fn connect(row: Row, entrance: Entrance) -> Result<TcpStream> {
    let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, entrance.port))?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(DEADLINE))?;
    tcp.set_write_timeout(Some(DEADLINE))?;
    login::login(&mut tcp, entrance)?;
    let mut buffer = vec![0; READ];
    drain(&mut tcp, &mut buffer)?;
    if row.mode == Mode::Prepared {
        let mut out = BytesMut::new();
        frontend::parse(STATEMENT, sql(row), [], &mut out)?;
        frontend::sync(&mut out);
        tcp.write_all(&out)?;
        drain(&mut tcp, &mut buffer).context("preparing the statement")?;
    }
    Ok(tcp)
}

fn sql(row: Row) -> &'static str {
    if row.case.is_copy() { COPY } else { SELECT }
}

/// The bytes of one operation, the same as libpq's for each mode.
fn request(row: Row) -> Result<BytesMut> {
    let mut out = BytesMut::new();
    let name = match row.mode {
        Mode::Simple => {
            frontend::query(sql(row), &mut out)?;
            return Ok(out);
        }
        Mode::Extended => {
            frontend::parse("", sql(row), [], &mut out)?;
            ""
        }
        Mode::Prepared => STATEMENT,
    };
    let nothing = |_: (), _: &mut BytesMut| Ok(IsNull::Yes);
    frontend::bind("", name, [], [], nothing, [0], &mut out).ok().context("a Bind without parameters")?;
    frontend::describe(b'P', "", &mut out)?;
    frontend::execute("", 0, &mut out)?;
    frontend::sync(&mut out);
    Ok(out)
}

/// Reads up to ReadyForQuery and counts the rows.
fn drain(tcp: &mut TcpStream, buffer: &mut [u8]) -> Result<u32> {
    let mut scan = Scan::default();
    while !scan.ready {
        let count = tcp.read(buffer).context("reading")?;
        if count == 0 {
            bail!("the connection was closed");
        }
        scan.feed(buffer.get(..count).unwrap_or_default())?;
    }
    Ok(scan.rows)
}

/// Where we are in the stream of messages.
#[derive(Debug, Default)]
struct Scan {
    /// Tag and length of the message that is coming.
    header: Vec<u8>,
    /// Bytes of its body still to come.
    body: usize,
    /// The body of an error, kept to be shown.
    fault: Option<Vec<u8>>,
    rows: u32,
    ready: bool,
}

// === impl Scan ===

impl Scan {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        loop {
            let (skipped, rest) = bytes.split_at_checked(self.body).unwrap_or((bytes, &[]));
            self.body -= skipped.len();
            if let Some(fault) = &mut self.fault {
                fault.extend_from_slice(skipped);
                if self.body == 0 {
                    bail!("{}", readable(fault));
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
            let (head, rest) = rest.split_at_checked(5 - self.header.len()).unwrap_or((rest, &[]));
            self.header.extend_from_slice(head);
            bytes = rest;
            let Some([tag, length @ ..]) = self.header.first_chunk::<5>() else { return Ok(()) };
            let length = usize::try_from(u32::from_be_bytes(*length))?;
            self.body = length.checked_sub(4).context("a message with a length below 4")?;
            match tag {
                b'D' | b'd' => self.rows += 1,
                b'Z' => self.ready = true,
                b'E' => self.fault = Some(Vec::new()),
                _ => {}
            }
            self.header.clear();
        }
    }
}

/// The fields of an ErrorResponse that say what happened.
fn readable(fault: &[u8]) -> String {
    let fields = fault.split(|byte| *byte == 0).filter_map(|field| field.split_first());
    let wanted = fields.filter(|(code, _)| b"CMDH".contains(code));
    wanted.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for (tag, body) in [(b'T', "columns"), (b'D', "one"), (b'D', ""), (b'd', "three"), (b'C', "done"), (b'Z', "I")]
        {
            stream.extend(e2e::wire::message(tag, body.as_bytes()).unwrap());
        }
        for size in 1..=stream.len() {
            let mut scan = Scan::default();
            stream.chunks(size).for_each(|chunk| scan.feed(chunk).unwrap());
            assert_eq!((scan.rows, scan.ready, scan.body), (3, true, 0), "chunks of {size}");
        }
    }

    #[test]
    fn an_error_ends_the_run_with_its_text() {
        let bytes = e2e::wire::message(b'E', b"SERROR\0C42501\0Mpermission denied\0\0").unwrap();
        for size in 1..=bytes.len() {
            let mut scan = Scan::default();
            let error = bytes.chunks(size).find_map(|chunk| scan.feed(chunk).err());
            assert_eq!(error.unwrap().to_string(), "42501; permission denied");
        }
    }
}
