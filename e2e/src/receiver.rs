//! A webhook's receiver over HTTPS, as good or bad as the test wants it, that keeps all it heard.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::tls::Authority;

/// Of one connection: longer than any caller waits.
const PATIENCE: Duration = Duration::from_secs(30);
const MOST: usize = 1 << 20;
const FLOOD: usize = 10 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// 307, to there.
    Elsewhere(String),
    /// 429, and for how many seconds.
    Busy(u32),
    /// None, while the caller waits.
    Hang,
    /// 200, and 10 MiB.
    Flood,
    /// Something that is not HTTP.
    Noise,
    /// None: the connection is closed.
    Close,
}

#[derive(Clone, Debug)]
pub struct Heard {
    /// As the request line has it.
    pub target: String,
    /// In lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    pub authority: Authority,
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    answer: Mutex<Answer>,
    heard: Mutex<Vec<Heard>>,
    stop: AtomicBool,
    /// Somebody took all of a flood.
    drunk: AtomicBool,
}

// === impl Receiver ===

impl Receiver {
    /// On a free port of 127.0.0.1, with a certificate for it.
    ///
    /// # Errors
    /// When there is no port or no certificate.
    pub fn start() -> Result<Self> {
        Self::at(&SocketAddr::from(([127, 0, 0, 1], 0)), Authority::new(&["127.0.0.1", "localhost"])?)
    }

    /// Where it was before, with the certificate that it had.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn at(address: &SocketAddr, authority: Authority) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let certificate = CertificateDer::from_pem_slice(authority.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(authority.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?);
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Status(200)),
            heard: Mutex::default(),
            stop: AtomicBool::new(false),
            drunk: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let accepts = std::thread::spawn(move || {
            while !own.stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                };
                let (own, config) = (Arc::clone(&own), Arc::clone(&config));
                // A caller that breaks off is the caller's matter.
                std::thread::spawn(move || drop(own.converse(stream, config)));
            }
        });
        Ok(Self { address, authority, shared, accepts: Some(accepts) })
    }

    /// From now on.
    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock() = answer;
    }

    /// Whether anybody read a flood to its end; it is larger than what connections hold.
    pub fn was_drunk(&self) -> bool {
        self.shared.drunk.load(Ordering::Relaxed)
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(accepts) = self.accepts.take() {
            // It only ends.
            let _ = accepts.join();
        }
    }
}

// === impl Heard ===

impl Heard {
    /// # Errors
    /// When the body is not JSON.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

// === impl Shared ===

impl Shared {
    fn converse(&self, stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
        let heard = read(&mut stream)?;
        self.heard.lock().push(heard);
        let answer = self.answer.lock().clone();
        let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\n{more}\r\n");
        match answer {
            Answer::Status(status) => {
                stream.write_all(head(&format!("{status} x"), "content-length: 0\r\n").as_bytes())?
            }
            Answer::Elsewhere(to) => {
                let more = format!("location: {to}\r\ncontent-length: 0\r\n");
                stream.write_all(head("307 x", &more).as_bytes())?;
            }
            Answer::Busy(seconds) => {
                let more = format!("retry-after: {seconds}\r\ncontent-length: 0\r\n");
                stream.write_all(head("429 x", &more).as_bytes())?;
            }
            Answer::Flood => {
                stream.write_all(head("200 x", &format!("content-length: {FLOOD}\r\n")).as_bytes())?;
                stream.write_all(&vec![b'x'; FLOOD])?;
                stream.flush()?;
                self.drunk.store(true, Ordering::Relaxed);
            }
            Answer::Noise => stream.write_all(b"no HTTP at all, whatever was asked for\r\n\r\n")?,
            Answer::Hang => while matches!(stream.read(&mut [0]), Ok(read) if read > 0) {},
            Answer::Close => return Ok(()),
        }
        stream.flush()?;
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(())
    }
}

fn read(stream: &mut impl Read) -> Result<Heard> {
    let mut got = Vec::new();
    let end = loop {
        if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(stream, &mut got)?;
    };
    let mut body = got.split_off(end.saturating_add(4));
    let head = String::from_utf8(got)?;
    let mut lines = head.lines();
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).context("no request line")?.to_owned();
    let pair = |line: &str| Some((line.split_once(':')?.0.to_lowercase(), line.split_once(':')?.1.trim().to_owned()));
    let headers: BTreeMap<String, String> = lines.filter_map(pair).collect();
    let length: usize = headers.get("content-length").context("no length")?.parse()?;
    while body.len() < length {
        more(stream, &mut body)?;
    }
    Ok(Heard { target, headers, body })
}

fn more(stream: &mut impl Read, got: &mut Vec<u8>) -> Result<()> {
    let mut part = [0; 4096];
    let read = stream.read(&mut part)?;
    if read == 0 || got.len() > MOST {
        bail!("broken off");
    }
    got.extend_from_slice(part.get(..read).unwrap_or_default());
    Ok(())
}
