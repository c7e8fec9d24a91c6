//! TLS on both sides: agents trust our CA for our names only, and an upstream is verified or not used.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::sync::Arc;

use rustls_pki_types::ServerName;
use sidecar::tls::{ALPN, Downstream, LocalCa, Presented, TlsError, install_provider, upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn downstream(dir: &std::path::Path, names: &[&str]) -> Downstream {
    install_provider();
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    Downstream::new(LocalCa::open(dir).unwrap(), &names).unwrap()
}

/// A handshake and four bytes; the end point as the agent computes it.
async fn handshake(
    server: &Presented,
    ca: &[u8],
    name: &str,
    alpn: &[&[u8]],
) -> Result<(Vec<u8>, Option<Vec<u8>>), String> {
    let mut config = Arc::unwrap_or_clone(upstream(Some(ca)).map_err(|e| e.to_string())?);
    config.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
    let (near, far) = tokio::io::duplex(16 * 1024);
    let acceptor = TlsAcceptor::from(Arc::clone(&server.config));
    let serving = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await?;
        stream.write_all(b"pong").await?;
        stream.flush().await
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, near).await.map_err(|e| e.to_string())?;
    let mut text = [0; 4];
    stream.read_exact(&mut text).await.map_err(|e| e.to_string())?;
    serving.await.unwrap().unwrap();
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().unwrap().first().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
    Ok((digest.as_ref().to_vec(), connection.alpn_protocol().map(<[u8]>::to_vec)))
}

#[tokio::test]
async fn agents_verify_us_by_our_ca_and_names() {
    let dir = tempfile::tempdir().unwrap();
    let server = downstream(dir.path(), &["db.internal", "10.1.2.3"]);
    let ca = std::fs::read(server.ca_file()).unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "db.internal", "10.1.2.3"] {
        let (end_point, alpn) = handshake(&server.configured(), &ca, name, &[]).await.unwrap();
        assert_eq!(end_point, server.configured().end_point(), "{name}");
        assert_eq!(alpn, None);
    }
    assert!(
        handshake(&server.configured(), &ca, "db.example.com", &[]).await.unwrap_err().contains("not valid for name")
    );
    let other = tempfile::tempdir().unwrap();
    let foreign = std::fs::read(downstream(other.path(), &[]).ca_file()).unwrap();
    assert!(
        handshake(&server.configured(), &foreign, "localhost", &[])
            .await
            .unwrap_err()
            .contains("invalid peer certificate")
    );
}

#[tokio::test]
async fn a_target_that_comes_later_has_a_certificate_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let server = downstream(dir.path(), &["db.internal"]);
    let ca = std::fs::read(server.ca_file()).unwrap();
    for (host, name) in [("Late.example.", "late.example"), ("10.9.8.7", "10.9.8.7"), ("fd00::7", "fd00::7")] {
        let presented = server.for_host(host).unwrap();
        let (end_point, _) = handshake(&presented, &ca, name, &[]).await.unwrap();
        assert_eq!(end_point, presented.end_point(), "{name}");
        assert_eq!(server.for_host(name).unwrap().leaf(), presented.leaf());
        // It says nothing about any other name, not even that of our own doors.
        for other in ["localhost", "127.0.0.1", "db.internal", "other.example"] {
            let error = handshake(&presented, &ca, other, &[]).await.unwrap_err();
            assert!(error.contains("not valid for name"), "{name} as {other}: {error}");
        }
    }
    assert!(server.for_host("no host").is_err());
}

#[tokio::test]
async fn the_ca_outlives_a_restart_and_the_leaf_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = downstream(dir.path(), &[]);
    let ca = std::fs::read(first.ca_file()).unwrap();
    let second = downstream(dir.path(), &[]);
    assert_ne!(first.configured().leaf(), second.configured().leaf());
    handshake(&second.configured(), &ca, "localhost", &[]).await.unwrap();
}

#[tokio::test]
async fn direct_tls_needs_the_word_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let server = downstream(dir.path(), &[]);
    let ca = std::fs::read(server.ca_file()).unwrap();
    let (_, alpn) = handshake(&server.configured(), &ca, "localhost", &[ALPN]).await.unwrap();
    assert_eq!(alpn.as_deref(), Some(ALPN));
    handshake(&server.configured(), &ca, "localhost", &[b"http/1.1"]).await.unwrap_err();
}

#[test]
fn a_bad_ca_is_named() {
    assert!(matches!(upstream(Some(b"not PEM")), Err(TlsError::Empty)));
    assert!(matches!(
        upstream(Some(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")),
        Err(TlsError::NotPem(_) | TlsError::Empty)
    ));
    assert!(matches!(
        upstream(Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        Err(TlsError::NotAnAnchor(_))
    ));
}
