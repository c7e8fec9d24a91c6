//! `/metrics`, `/healthz` and `/readyz` of operator and sidecar over plain HTTP/1.1. Nothing secret is shown and nothing can
//! be changed here; few connections, short deadlines, no request body.

mod process;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const CONNECTIONS: usize = 16;
/// For the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection, keep-alive included.
const CONNECTION: Duration = Duration::from_secs(60);

/// Why the program is not ready, if it is not; asked at each `/readyz`.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The metrics of this moment in the Prometheus text format, or why there are none; asked at each `/metrics`.
pub type Metrics = Arc<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// Serves until the runtime ends.
pub async fn serve(listener: TcpListener, metrics: Metrics, ready: Ready) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(event = "accept_failed", listener = "metrics", %error);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Over the limit: closed at once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (metrics, ready) = (Arc::clone(&metrics), Arc::clone(&ready));
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let answer = answer(&request, &metrics, &ready);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            // A scraper that hangs up or is too slow needs no answer.
            let _ = tokio::time::timeout(CONNECTION, connection).await;
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, ready: &Ready) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => match metrics() {
            Ok(mut text) => {
                text.extend_from_slice(process::metrics().as_bytes());
                response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
            }
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match ready() {
            Ok(()) => response(StatusCode::OK, TEXT, "ok\n"),
            Err(reason) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        _ => response(StatusCode::NOT_FOUND, TEXT, "try /metrics, /healthz or /readyz\n"),
    }
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
