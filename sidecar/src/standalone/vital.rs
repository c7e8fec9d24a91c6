//! Tasks that carry a guarantee: a panic in one of them ends the process, so that nothing goes on without it.

use std::future::Future;

/// Aborts the process when it is dropped by a panic.
struct AbortOnPanic(&'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a vital task panicked; the process ends");
            std::process::abort();
        }
    }
}

/// Spawns a task without which the process must not go on.
pub(crate) fn spawn<T: Send + 'static>(
    name: &'static str,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(async move {
        let _guard = AbortOnPanic(name);
        task.await
    })
}

/// Runs blocking work of such a task on another thread.
pub(crate) async fn blocking<T: Send + 'static>(name: &'static str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let run = tokio::task::spawn_blocking(move || {
        let _guard = AbortOnPanic(name);
        work()
    });
    match run.await {
        Ok(result) => result,
        // The runtime ends; nothing may be answered any more, and a panic has aborted before.
        Err(_) => std::future::pending().await,
    }
}
