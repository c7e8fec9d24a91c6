//! What `verify` asks of the sidecar and what the sidecar answers: proof that a connection landed in it and nowhere else.
//!
//! The addresses are for documentation (RFC 5737, RFC 3849), so that a fence with a hole disturbs nobody. Only who was
//! started with the same nonce can answer, and the answer names the destination, so that one of another probe, or of a
//! host that listens there after all, counts for nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

pub const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// As short as nobody guesses it, as long as one DNS label may be.
const SHORTEST: usize = 16;
const LONGEST: usize = 63;

/// Made for one pod, and given to its sidecar and its `verify`.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce has {SHORTEST} to {LONGEST} lower-case letters and digits")]
pub struct NotANonce;

impl Nonce {
    /// What the sidecar says, before it closes, to who dialled `destination`.
    pub fn greeting(&self, destination: SocketAddr) -> String {
        format!("agentaccess {} {destination}\n", self.0)
    }

    /// The name whose only address is [`ADDRESS_V4`].
    pub fn name(&self) -> String {
        format!("{}.agentaccess.invalid.", self.0)
    }
}

/// Whether a connection to this address is a probe.
pub fn is_probe(address: IpAddr) -> bool {
    address == IpAddr::V4(ADDRESS_V4) || address == IpAddr::V6(ADDRESS_V6)
}

impl FromStr for Nonce {
    type Err = NotANonce;

    fn from_str(text: &str) -> Result<Self, NotANonce> {
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        match plain && (SHORTEST..=LONGEST).contains(&text.len()) {
            true => Ok(Self(text.to_owned())),
            false => Err(NotANonce),
        }
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<nonce>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_long_and_plain() {
        let nonce: Nonce = "0123456789abcdef".parse().unwrap();
        assert_eq!(nonce.greeting(([192, 0, 2, 1], 443).into()), "agentaccess 0123456789abcdef 192.0.2.1:443\n");
        assert_eq!(nonce.name(), "0123456789abcdef.agentaccess.invalid.");
        for bad in ["", "0123456789abcde", "0123456789ABCDEF", "0123456789abcde.", "0123456789abcde\n"] {
            assert!(bad.parse::<Nonce>().is_err(), "{bad}");
        }
        assert!("a".repeat(63).parse::<Nonce>().is_ok() && "a".repeat(64).parse::<Nonce>().is_err());
    }
}
