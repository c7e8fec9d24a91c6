//! Startup and SCRAM-SHA-256, as far as AuthenticationOk.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use e2e::postgres::DATABASE;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;

use crate::contestants::Entrance;

const OK: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Logs in; what follows AuthenticationOk is left to be read.
///
/// # Errors
/// When the other side refuses, or offers anything but SCRAM.
pub(crate) fn login(tcp: &mut TcpStream, entrance: Entrance) -> Result<()> {
    let mut out = BytesMut::new();
    let parameters = [("user", entrance.user), ("database", DATABASE), ("application_name", "bench")];
    frontend::startup_message(parameters, &mut out)?;
    tcp.write_all(&out)?;
    authentication(tcp, SASL)?;
    let mut scram = ScramSha256::new(entrance.password.as_bytes(), ChannelBinding::unsupported());
    out.clear();
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)?;
    tcp.write_all(&out)?;
    scram.update(&authentication(tcp, SASL_CONTINUE)?)?;
    out.clear();
    frontend::sasl_response(scram.message(), &mut out)?;
    tcp.write_all(&out)?;
    scram.finish(&authentication(tcp, SASL_FINAL)?)?;
    authentication(tcp, OK).map(drop)
}

/// What an Authentication message of this kind says.
fn authentication(tcp: &mut TcpStream, kind: u32) -> Result<Vec<u8>> {
    let mut header = [0; 5];
    tcp.read_exact(&mut header).context("reading the answer to the login")?;
    let [tag, length @ ..] = header;
    let length = usize::try_from(u32::from_be_bytes(length))?.checked_sub(4).context("a length below 4")?;
    let mut body = vec![0; length.min(8192)];
    tcp.read_exact(&mut body)?;
    match body.split_first_chunk() {
        Some((found, rest)) if tag == b'R' && u32::from_be_bytes(*found) == kind => Ok(rest.to_vec()),
        _ => {
            bail!("the login was refused: `{}` {}", char::from(tag), String::from_utf8_lossy(&body).replace('\0', " "))
        }
    }
}
