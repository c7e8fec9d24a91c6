//! Whether the API server answers: a connection that died in silence looks like a watch without news.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::{sleep, timeout};

use super::Index;
use crate::metrics::Metrics;

const BEAT: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(3);

/// Until the runtime ends.
pub(super) async fn follow(index: Arc<Index>, client: Client, metrics: Arc<Metrics>) {
    let mut before = true;
    loop {
        let alive = matches!(timeout(PATIENCE, client.apiserver_version()).await, Ok(Ok(_)));
        index.change(|world| world.pulse(alive));
        if before != alive {
            tracing::warn!(event = "api_server", alive);
        }
        if !alive {
            metrics.watch_lost("pulse");
        }
        before = alive;
        sleep(BEAT).await;
    }
}
