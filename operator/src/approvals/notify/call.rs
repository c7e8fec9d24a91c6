//! One call: a POST over a connection of its own, within one deadline.
//!
//! Refused: redirects, and everything but a 2xx. Of the answer only the status is read, and how long we are asked to wait;
//! its body is not. Invariant: what is said of a failure is made of our own words and the status alone.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::endpoint::{Endpoint, Unfit};
use super::queue::Fault;

/// From the name to the head of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of the head of an answer.
const HEAD: usize = 16 * 1024;
const AGENT: &str = concat!("agentaccess-operator/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Unready(#[from] Unfit),
    #[error("the message cannot be written")]
    Message,
    #[error("the endpoint cannot be reached")]
    Unreachable,
    #[error(
        "TLS with the endpoint fails: its certificate is not trusted, or not for this name (`ca.crt` of the Secret)"
    )]
    Tls,
    #[error("the endpoint breaks off, or does not answer as HTTP")]
    Broken,
    #[error("the endpoint does not answer within 10 s")]
    Slow,
    #[error("the endpoint answers {0}: it wants to lead elsewhere, which is not followed")]
    Redirected(u16),
    #[error("the endpoint answers {0}")]
    Answered(u16, Option<Duration>),
}

// === impl Failure ===

impl Failure {
    /// A bounded label for metrics.
    pub(super) fn word(&self) -> &'static str {
        match (self, self.fault()) {
            (Self::Unready(_), _) => "unready",
            (_, Fault::Thing) => "refused",
            (_, Fault::Endpoint(_)) => "away",
        }
    }

    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Answered(429 | 503, asked) => Fault::Endpoint(*asked),
            Self::Answered(408 | 500.., _) => Fault::Endpoint(None),
            Self::Answered(..) | Self::Redirected(_) | Self::Message => Fault::Thing,
            Self::Unready(_) | Self::Unreachable | Self::Tls | Self::Broken | Self::Slow => Fault::Endpoint(None),
        }
    }
}

/// Ends with its call.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `id` is the same for every try of one message.
pub(super) async fn post(endpoint: &Arc<Endpoint>, id: &str, at: Timestamp, body: Vec<u8>) -> Result<(), Failure> {
    timeout(DEADLINE, sent(endpoint, id, at, body)).await.map_err(|_| Failure::Slow)?
}

async fn sent(endpoint: &Endpoint, id: &str, at: Timestamp, body: Vec<u8>) -> Result<(), Failure> {
    let request = Request::post(endpoint.path.as_str())
        .header(HOST, &endpoint.authority)
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("webhook-id", id)
        .header("webhook-timestamp", at.as_second())
        .header("webhook-signature", endpoint.sign(id, at, &body))
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| Failure::Message)?;
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let stream = stream.map_err(|_| Failure::Unreachable)?;
    let answer = match &endpoint.tls {
        Some((name, config)) => {
            let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
            exchange(stream.map_err(|error| broken(&error))?, request).await?
        }
        None => exchange(stream, request).await?,
    };
    judge(&answer)
}

/// What rustls finds wrong comes as invalid data; the rest is the connection.
fn broken(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::InvalidData { Failure::Tls } else { Failure::Broken }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let opened = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|_| Failure::Broken)?;
    let _driver = Driver(tokio::spawn(async move {
        // What becomes of it, the answer says.
        let _ = connection.await;
    }));
    sender.send_request(request).await.map_err(|_| Failure::Broken)
}

fn judge(answer: &Response<Incoming>) -> Result<(), Failure> {
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if status.is_redirection() => Err(Failure::Redirected(status.as_u16())),
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            // In seconds; a date is taken for no wish.
            let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Err(Failure::Answered(status.as_u16(), asked.map(Duration::from_secs)))
        }
        status => Err(Failure::Answered(status.as_u16(), None)),
    }
}
