//! What every TCP connection of ours is told, to agents and to targets alike.

use rustix::net::sockopt;
use std::time::Duration;
use tokio::net::TcpStream;

/// Silence before the kernel asks whether the other side is still there.
const IDLE: Duration = Duration::from_secs(60);
const BETWEEN_PROBES: Duration = Duration::from_secs(15);
/// Unanswered ones that end the connection: a host that went without a word is noticed within two minutes.
const PROBES: u32 = 4;

/// Sets what makes it quick and mortal. A socket that refuses is already gone, which its first read tells.
pub(crate) fn prepare(stream: &TcpStream) {
    // Small messages that answer each other: waiting for more only adds latency.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_tcp_keepidle(stream, IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, BETWEEN_PROBES);
    let _ = sockopt::set_tcp_keepcnt(stream, PROBES);
    let _ = sockopt::set_socket_keepalive(stream, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_is_gone_without_a_word_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream);
        assert!(sockopt::socket_keepalive(&stream).unwrap() && stream.nodelay().unwrap());
        let seconds = sockopt::tcp_keepidle(&stream).unwrap() + sockopt::tcp_keepintvl(&stream).unwrap() * PROBES;
        assert_eq!((seconds.as_secs(), sockopt::tcp_keepcnt(&stream).unwrap()), (120, PROBES));
    }
}
