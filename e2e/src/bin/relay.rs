//! Copies bytes between its clients and one port, and understands none of them: the floor that every proxy of one
//! process pays on this machine. `make bench` compares with it.
//!
//! One current-thread runtime and no delay of small packets, as the sidecar has it, so that the difference is work.

use std::env;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

const BUFFER: usize = 16 * 1024;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut port = |name| -> Result<u16> {
        let text = arguments.next().with_context(|| format!("usage: relay LISTEN TARGET; no {name}"))?;
        text.parse().with_context(|| format!("{name} `{text}` is not a port"))
    };
    let (listen, target) = (port("LISTEN")?, port("TARGET")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(listen, target))
}

async fn serve(listen: u16, target: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listen)).await.with_context(|| format!("port {listen}"))?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = copy(client, target).await {
                // A client that goes without a word is the end of a run, not a fault; a fault shows at the client.
                eprintln!("{error:#}");
            }
        });
    }
}

async fn copy(mut client: TcpStream, target: u16) -> Result<()> {
    let mut upstream = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.context("connecting to the target")?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}
