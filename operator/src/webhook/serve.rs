//! HTTPS for the API server: few connections, and a deadline on every read.
//!
//! Nothing here decides: a request within the limits goes to `review`. A panic ends one connection, and the API server
//! does not admit the pod. A replica that is about to end closes each connection with an answer on it: one that is closed
//! while it is idle may be closed under a request, which the API server does not send again.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use otel::{Attributes, Kind, Span, Telemetry};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::policies::{self, Proposal};
use super::review::{self, Rules};
use crate::approvals::reviewer::Reviewer;
use crate::certificate::{self, Current};
use crate::index::{Index, Judged};
use crate::inject::Moment;
use crate::metrics::Metrics;

const UNREADABLE: &str = "unreadable";
const CONNECTIONS: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// For the head of a request, and for a connection between two: longer than the API server keeps one that is idle, so
/// that it is never closed under a request.
const HEAD: Duration = Duration::from_secs(120);
const BODY: Duration = Duration::from_secs(5);
/// The API server takes 3 MiB from a user.
const MOST_BODY: usize = 4 << 20;
/// For what was stored just before to come to us.
const NEWS: Duration = Duration::from_millis(300);
/// What is still being answered when we stop.
const DRAIN: Duration = Duration::from_secs(10);

/// What every request needs.
#[derive(Debug)]
pub struct Webhook {
    pub rules: Rules,
    pub approvals: Reviewer,
    pub index: Arc<Index>,
    pub current: Current,
    pub metrics: Arc<Metrics>,
    pub telemetry: Telemetry,
    /// Nobody new is sent here: after each answer its connection ends.
    pub leaving: Arc<AtomicBool>,
}

/// TLS with the leaf that is current at each handshake.
///
/// # Errors
/// When the crypto provider has no TLS, which none of ours is.
pub fn tls(current: Current) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(current));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop` says so, and then what was begun.
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, webhook: Arc<Webhook>, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Over the limit the next one waits in the kernel. Both arms lose nothing when they are dropped.
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (tls, webhook, stop) = (tls.clone(), Arc::clone(&webhook), stop.clone());
        tokio::spawn(async move {
            connection(stream, tls, webhook, stop).await;
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN, places.acquire_many(all)).await.is_err() {
        tracing::warn!(event = "drain_cut", seconds = DRAIN.as_secs());
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(event = "accept_failed", listener = "webhook", %error);
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, webhook: Arc<Webhook>, mut stop: watch::Receiver<bool>) {
    // Without it each answer waits for the other side's acknowledgement: 57 ms instead of 11.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(event = "handshake_failed", %error),
        Err(_) => return tracing::debug!(event = "handshake_failed", error = "too slow"),
    };
    let service = service_fn(move |request| {
        let webhook = Arc::clone(&webhook);
        async move {
            let mut response = respond(request, &webhook).await;
            if webhook.leaving.load(Ordering::Relaxed) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // The connection is polled on after the first arm, so nothing of it is lost.
    let done = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => None,
        done = connection.as_mut() => Some(done),
    };
    let done = match done {
        Some(done) => done,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(event = "connection_failed", %error);
    }
}

async fn respond(request: Request<Incoming>, webhook: &Webhook) -> Response<Full<Bytes>> {
    let name = match request.uri().path() {
        "/inject" => "inject",
        "/approvals" => "approvals",
        "/policies" => "policies",
        _ => return text(StatusCode::NOT_FOUND, "only /inject, /approvals and /policies are served\n"),
    };
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
    }
    let (started, begin) = (Instant::now(), SystemTime::now());
    let (result, response) = match body(request).await {
        Ok(body) if name == "inject" => inject(&body, webhook),
        Ok(body) if name == "policies" => policies(&body, webhook).await,
        Ok(body) => approvals(&body, webhook).await,
        Err(response) => (UNREADABLE, response),
    };
    webhook.metrics.admission(name, result, started.elapsed());
    tell(&webhook.telemetry, name, result, begin);
    response
}

/// One review, as a span. It names no object: what was sent may be anything.
fn tell(telemetry: &Telemetry, webhook: &'static str, result: &'static str, begin: SystemTime) {
    let Some((trace, id)) = telemetry.begin() else { return };
    let mut attributes = Attributes::default();
    attributes.word("agentaccess.webhook", webhook);
    attributes.word("agentaccess.result", result);
    let failed = matches!(result, UNREADABLE | "failed").then_some(result);
    let (end, name) = (SystemTime::now(), format!("review {webhook}").into());
    telemetry.span(Span {
        trace,
        id,
        parent: None,
        link: None,
        name,
        kind: Kind::Server,
        begin,
        end,
        attributes,
        failed,
    });
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Response<Full<Bytes>>> {
    let too_large = || text(StatusCode::PAYLOAD_TOO_LARGE, "at most 4 MiB\n");
    // As it was announced, before any of it is read.
    if usize::try_from(request.body().size_hint().lower()).map_or(true, |length| length > MOST_BODY) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY, Limited::new(request.into_body(), MOST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(text(StatusCode::BAD_REQUEST, "the body broke off\n")),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "the body came too slowly\n")),
    }
}

fn inject(body: &[u8], webhook: &Webhook) -> (&'static str, Response<Full<Bytes>>) {
    let mut draw = [0; 8];
    let (Some(held), Ok(())) = (webhook.current.get(), rand::fill(&mut draw)) else {
        return ("failed", text(StatusCode::SERVICE_UNAVAILABLE, "no CA or no randomness yet\n"));
    };
    let moment =
        Moment { now: certificate::now(), draw: u64::from_le_bytes(draw), seal: &held.seal, roots: &held.roots };
    let answer = match review::answer(body, &webhook.rules, &moment) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(event = "review_unreadable", %error);
            return (UNREADABLE, text(StatusCode::BAD_REQUEST, &format!("{error}\n")));
        }
    };
    let result = answer.outcome.word();
    match &answer.message {
        Some(message) => tracing::info!(event = "pod_reviewed", result, namespace = answer.namespace, message),
        None => tracing::info!(event = "pod_reviewed", result, namespace = answer.namespace),
    }
    written(result, &answer.review)
}

async fn approvals(body: &[u8], webhook: &Webhook) -> (&'static str, Response<Full<Bytes>>) {
    let answer = match webhook.approvals.answer(body).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(event = "review_unreadable", %error);
            return (UNREADABLE, text(StatusCode::BAD_REQUEST, &format!("{error}\n")));
        }
    };
    let result = answer.outcome.word();
    // One vote may come here many times, so that nothing is counted or told of it; who was refused is worth a line.
    match &answer.message {
        Some(message) => tracing::info!(event = "vote_reviewed", result, message),
        None => tracing::debug!(event = "vote_reviewed", result),
    }
    written(result, &answer.review)
}

async fn policies(body: &[u8], webhook: &Webhook) -> (&'static str, Response<Full<Bytes>>) {
    let answer = match policies::begin(body) {
        Ok(policies::Step::Done(answer)) => *answer,
        Ok(policies::Step::Judge(proposal)) => {
            let answer = proposal.conclude(&judged(&proposal, &webhook.index).await);
            if let Some(message) = &answer.message {
                let Proposal { kind, namespace, name, .. } = proposal.as_ref();
                tracing::info!(event = "policy_refused", kind = kind.as_str(), namespace, name, message);
            }
            answer
        }
        Err(error) => {
            tracing::warn!(event = "review_unreadable", %error);
            return (UNREADABLE, text(StatusCode::BAD_REQUEST, &format!("{error}\n")));
        }
    };
    written(answer.outcome.word(), &answer.review)
}

/// Who applies a target and its policy hears of no missing target because our watch is a moment behind.
async fn judged(proposal: &Proposal, index: &Index) -> Judged {
    let mut changes = index.changes();
    let patience = tokio::time::sleep(NEWS);
    let mut patience = std::pin::pin!(patience);
    loop {
        changes.mark_unchanged();
        let Proposal { kind, namespace, name, spec, .. } = proposal;
        let judged = index.judge(*kind, namespace, name, spec);
        if !judged.odd.iter().any(|odd| odd.of_others) {
            return judged;
        }
        // Both arms lose nothing when they are dropped: the index is looked at again.
        tokio::select! {
            () = patience.as_mut() => return judged,
            changed = changes.changed() => if changed.is_err() {
                return judged;
            },
        }
    }
}

fn written(result: &'static str, review: &AdmissionReview<DynamicObject>) -> (&'static str, Response<Full<Bytes>>) {
    match serde_json::to_vec(review) {
        Ok(json) => {
            let mut response = Response::new(Full::new(Bytes::from(json)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            (result, response)
        }
        Err(error) => ("failed", text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n"))),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
