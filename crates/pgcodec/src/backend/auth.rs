//! Authentication requests. Refused: everything but Ok, cleartext, MD5 and SASL.

use bytes::{Bytes, BytesMut};

use crate::reader::Reader;
use crate::{Violation, wire};

/// `R`: what the server asks of the client, or that it is satisfied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    Ok,
    Cleartext,
    Md5 {
        salt: [u8; 4],
    },
    /// The mechanisms on offer, the best first.
    Sasl {
        mechanisms: Vec<String>,
    },
    SaslContinue {
        data: Bytes,
    },
    SaslFinal {
        data: Bytes,
    },
}

impl Authentication {
    pub(super) fn read(r: &mut Reader) -> Result<Self, Violation> {
        match r.u32("the kind is cut")? {
            0 => Ok(Self::Ok),
            3 => Ok(Self::Cleartext),
            5 => {
                let salt = r.bytes(4, "the salt is cut")?;
                let salt = salt.as_ref().try_into().map_err(|_| r.malformed("the salt is cut"))?;
                Ok(Self::Md5 { salt })
            }
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    let name = r.string("the list of mechanisms has no end")?;
                    if name.is_empty() {
                        return Ok(Self::Sasl { mechanisms });
                    }
                    mechanisms.push(name);
                }
            }
            11 => Ok(Self::SaslContinue { data: r.rest() }),
            12 => Ok(Self::SaslFinal { data: r.rest() }),
            2 | 6 | 7 | 8 | 9 => {
                Err(Violation::Unsupported { what: "authentication by Kerberos, GSSAPI, SSPI or SCM credentials" })
            }
            _ => Err(r.malformed("an unknown authentication request")),
        }
    }

    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), Violation> {
        wire::message(out, b'R', "Authentication", |w| {
            match self {
                Self::Ok => w.u32(0),
                Self::Cleartext => w.u32(3),
                Self::Md5 { salt } => {
                    w.u32(5);
                    w.bytes(salt);
                }
                Self::Sasl { mechanisms } => {
                    w.u32(10);
                    for name in mechanisms.iter().filter(|name| !name.is_empty()) {
                        w.string(name)?;
                    }
                    w.u8(0);
                }
                Self::SaslContinue { data } => {
                    w.u32(11);
                    w.bytes(data);
                }
                Self::SaslFinal { data } => {
                    w.u32(12);
                    w.bytes(data);
                }
            }
            Ok(())
        })
    }
}
