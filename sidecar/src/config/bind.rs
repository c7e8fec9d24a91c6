//! Where a listener listens: `127.0.0.1:6432`, `[::1]:6432`, `localhost:6432` or `unix:/path`.
//!
//! Names other than `localhost` are refused: what they resolve to may change, and with it who can connect.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::listen::unix::LONGEST;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

// === impl Bind ===

impl Bind {
    /// Relative socket paths count from `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let Some(path) = text.strip_prefix("unix:") else { return tcp(text).map(Self::Tcp) };
        if path.is_empty() {
            return Err("`unix:` needs a path, for example `unix:/run/agentaccess/orders.sock`".to_owned());
        }
        let path = base.join(path);
        if path.as_os_str().len() > LONGEST {
            return Err(format!("`{}` is longer than {LONGEST} bytes: choose a shorter path", path.display()));
        }
        Ok(Self::Unix(path))
    }

    /// Only processes of this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Port 0 lets the system choose; the ready line names what it chose.
pub(super) fn tcp(text: &str) -> Result<SocketAddr, String> {
    let wrong = || {
        format!("`{text}` is not an address: write `127.0.0.1:6432`, `[::1]:6432`, `localhost:6432` or `unix:/path`")
    };
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    match host {
        "localhost" => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        _ => Err(wrong()),
    }
}
