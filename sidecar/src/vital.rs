//! Tasks that carry a guarantee: a panic in one of them ends the process, so that nothing goes on without it.

use std::future::Future;

/// Lives while such a task runs, and is dropped by unwinding only.
struct AbortOnPanic(&'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!(task = self.0, "a vital task panicked; the process ends");
        std::process::abort();
    }
}

/// Runs `work`; a panic in it ends the process.
fn guarded<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    let guard = AbortOnPanic(name);
    let result = work();
    std::mem::forget(guard);
    result
}

/// Spawns a task without which the process must not go on.
pub(crate) fn spawn<T: Send + 'static>(
    name: &'static str,
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let mut task = Box::pin(task);
    // Around each poll and not around the task: a runtime that ends drops tasks, which is no panic of theirs.
    tokio::spawn(std::future::poll_fn(move |cx| guarded(name, || task.as_mut().poll(cx))))
}

/// Runs blocking work of such a task on another thread.
pub(crate) async fn blocking<T: Send + 'static>(name: &'static str, work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(move || guarded(name, work)).await {
        Ok(result) => result,
        // The runtime ends; a panic has ended the process before.
        Err(_) => std::future::pending().await,
    }
}
