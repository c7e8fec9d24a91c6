//! The operator's control server as a sidecar dials it.

use std::net::SocketAddr;

use control::v1::IssueRequest;
use control::v1::enrolment_client::EnrolmentClient;
use rcgen::{CertificateParams, KeyPair};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Of the tokens that the operator accepts.
pub(crate) const AUDIENCE: &str = "agentaccess.dev";

pub(crate) fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// Where it is, and which CA it is known by.
#[derive(Clone, Debug)]
pub(crate) struct Dialled {
    pub(crate) control: SocketAddr,
    pub(crate) ca: String,
}

impl Dialled {
    /// # Errors
    /// When nobody answers, or not as the operator.
    pub(crate) async fn dial(&self, identity: Option<Identity>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .domain_name("agentaccess-operator.agentaccess-system.svc");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::from_shared(format!("https://{}", self.control))?.tls_config(tls)?.connect().await
    }
}

/// # Errors
/// What the operator says, and when nobody answers.
pub(crate) async fn issue(dialled: &Dialled, token: &str, key: &KeyPair) -> Result<control::v1::Certificate, Status> {
    let channel = dialled.dial(None).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = EnrolmentClient::new(channel);
    let request = IssueRequest { token: token.to_owned(), csr: csr(key) };
    client.issue(request).await.map(tonic::Response::into_inner)
}

pub(crate) fn identity(certificate: &control::v1::Certificate, key: &KeyPair) -> Identity {
    Identity::from_pem(pem(&certificate.chain[0]), key.serialize_pem())
}
