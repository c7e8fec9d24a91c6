//! The way to the operator, which a test can cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// What is asked arrives, and no answer does.
    Deaf,
    /// Nothing arrives, and nothing ends.
    Frozen,
    /// Nobody is there.
    Closed,
}

/// Hands connections on to the operator, as the way is.
pub(crate) async fn relay(socket: TcpListener, operator: SocketAddr, gate: watch::Receiver<Way>) {
    loop {
        let Ok((here, _)) = socket.accept().await else { return };
        let mut gate = gate.clone();
        tokio::spawn(async move {
            if *gate.borrow() == Way::Closed {
                return;
            }
            let Ok(there) = TcpStream::connect(operator).await else { return };
            // Otherwise each answer waits for the other side's acknowledgement.
            let _ = (here.set_nodelay(true), there.set_nodelay(true));
            let (from, to) = here.into_split();
            let (back, forth) = there.into_split();
            let asks = pump(from, forth, gate.clone(), |way| matches!(way, Way::Open | Way::Deaf));
            let answers = pump(back, to, gate.clone(), |way| way == Way::Open);
            tokio::select! {
                () = asks => {}
                () = answers => {}
                _ = gate.wait_for(|way| *way == Way::Closed) => {}
            }
        });
    }
}

/// Hands on what it reads while it passes.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut gate: watch::Receiver<Way>,
    passes: impl Fn(Way) -> bool,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(bytes) = from.read(&mut buffer).await
        && bytes > 0
    {
        if gate.wait_for(|way| passes(*way)).await.is_err() || to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
