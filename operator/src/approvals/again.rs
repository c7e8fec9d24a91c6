//! Calls that are lost with their connection, which the API server closes when it likes, are made again: reads, and writes
//! over one version of an object. Such a write that was done all the same is a conflict when it is made again, never a
//! second one. Refused is nothing here: what the API server answered, it answered.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// The last answer.
pub(super) async fn again<T, F>(mut call: impl FnMut() -> F) -> kube::Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    for _ in 1..TRIES {
        match call().await {
            Err(error) if lost(&error) => sleep(PAUSE).await,
            answered => return answered,
        }
    }
    call().await
}

fn lost(error: &kube::Error) -> bool {
    matches!(error, kube::Error::HyperError(_) | kube::Error::Service(_))
}

#[cfg(test)]
mod tests {
    use std::io;

    use kube::core::Status;

    use super::*;

    async fn made(answers: &mut Vec<kube::Result<u8>>) -> (usize, kube::Result<u8>) {
        let mut calls = 0;
        let answer = again(|| {
            calls += 1;
            let answer = answers.remove(0);
            async { answer }
        });
        let answer = answer.await;
        (calls, answer)
    }

    fn gone() -> kube::Result<u8> {
        Err(kube::Error::Service(Box::new(io::Error::from(io::ErrorKind::ConnectionReset))))
    }

    #[tokio::test]
    async fn what_was_lost_is_asked_for_again_and_what_was_answered_is_not() {
        let conflict = || Err(kube::Error::Api(Box::new(Status::failure("changed", "Conflict"))));
        assert!(matches!(made(&mut vec![gone(), Ok(1)]).await, (2, Ok(1))));
        assert!(matches!(made(&mut vec![gone(), conflict(), Ok(1)]).await, (2, Err(kube::Error::Api(_)))));
        assert!(matches!(made(&mut vec![gone(), gone(), gone(), Ok(1)]).await, (3, Err(kube::Error::Service(_)))));
    }
}
