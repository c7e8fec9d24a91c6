//! Before login only login frames are written.
use sidecar::upstream::Greeting;
use tokio::io::AsyncWriteExt;

async fn around(mut greeting: Greeting) {
    let _ = greeting.stream.write_all(b"DROP").await;
}

fn main() {
    let _ = around;
}
