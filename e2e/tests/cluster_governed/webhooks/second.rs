//! A webhook of somebody else: HTTPS on this machine, one request a connection, and what it answers is the test's word.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::tls::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::sink::HERE;

const PATIENCE: Duration = Duration::from_secs(10);
/// An API server waits for no answer so long.
const LONGEST_SILENCE: Duration = Duration::from_secs(40);

pub(super) enum Reply {
    /// The pod is admitted with this JSON patch.
    Patch(Value),
    /// The request is read, and then nothing.
    Nothing,
}

pub(super) struct Second {
    address: SocketAddr,
    ca: String,
    calls: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Second {
    pub(super) fn start(answer: fn(&Value) -> Reply) -> Self {
        let authority = Authority::new(&[HERE]).unwrap();
        let tls = Arc::new(tls(&authority));
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, end) = (Arc::clone(&calls), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, counted, end) = (Arc::clone(&tls), Arc::clone(&counted), Arc::clone(&end));
                // A call that breaks off is the API server's to tell.
                thread::spawn(move || stream.map(|stream| serve(stream, tls, &counted, &end, answer)));
            }
        });
        Self { address, ca: authority.ca, calls, ended, thread: Some(thread) }
    }

    pub(super) fn client_config(&self) -> Value {
        json!({"url": format!("https://{}/", self.address), "caBundle": STANDARD.encode(&self.ca)})
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Who waits for a connection hears of it by one.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn tls(authority: &Authority) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(authority.key.as_bytes()).unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

fn serve(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    counted: &AtomicUsize,
    ended: &AtomicBool,
    answer: fn(&Value) -> Reply,
) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let stream = StreamOwned::new(ServerConnection::new(tls).ok()?, stream);
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let review: Value = serde_json::from_slice(&body).ok()?;
    counted.fetch_add(1, Ordering::SeqCst);
    let patch = match answer(&review["request"]["object"]) {
        Reply::Patch(patch) => patch,
        Reply::Nothing => {
            let _ = e2e::wait::eventually("the end", LONGEST_SILENCE, || ended.load(Ordering::SeqCst));
            return None;
        }
    };
    let response = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch",
            "patch": STANDARD.encode(patch.to_string()),
        },
    });
    let body = response.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let stream = stream.get_mut();
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}
