//! Nobody but `upstream` writes to the socket of a target.
use sidecar::upstream::Upstream;
use tokio::io::AsyncWriteExt;

async fn around(upstream: &mut Upstream) {
    let (_, writer) = upstream.halves();
    let _ = writer.write.write_all(b"DROP").await;
}

fn main() {
    let _ = around;
}
