//! TCP with or without TLS, blocking, every read with a deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    tls: Option<Box<StreamOwned<ClientConnection, TcpStream>>>,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, deadline: Duration) -> Result<Self> {
        tcp.set_nodelay(true)?;
        let stream = Self { tcp, tls: None };
        stream.within(deadline)?;
        Ok(stream)
    }

    pub(super) fn within(&self, deadline: Duration) -> Result<()> {
        self.tcp.set_read_timeout(Some(deadline))?;
        Ok(self.tcp.set_write_timeout(Some(deadline))?)
    }

    pub(super) fn start_tls(&mut self, ca: &str) -> Result<()> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        // The timeouts belong to the socket, so the copy has them too.
        let mut tcp = self.tcp.try_clone()?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp).context("TLS handshake")?;
        }
        self.tls = Some(Box::new(StreamOwned::new(session, tcp)));
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(buffer),
            None => self.tcp.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(bytes),
            None => self.tcp.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.flush(),
            None => self.tcp.flush(),
        }
    }
}
