//! The standing of a question to humans, told to the sidecar that asked.

use control::v1::{Standing, standing};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::said::{self, Said};

pub(super) type Standings = Said<Standing>;

/// Tells what a request's standing becomes, the newest alone, until it ends or nobody listens.
pub(super) fn follow(
    mut standing: watch::Receiver<Standing>,
    until: Instant,
    mut stop: watch::Receiver<bool>,
) -> Standings {
    let (sender, said) = said::channel();
    tokio::spawn(async move {
        loop {
            let Ok(room) = sender.reserve().await else { return };
            let now = standing.borrow_and_update().clone();
            let ended = matches!(now.standing, Some(standing::Standing::Denied(_) | standing::Standing::Ended(_)));
            room.send(Box::new(Ok(now)));
            if ended {
                return;
            }
            // Every arm is cancel-safe: none of them takes anything.
            let end = tokio::select! {
                changed = standing.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => Status::unavailable("the request is not followed any more: ask again"),
                },
                () = sleep_until(until) => Status::unauthenticated("the certificate has ended"),
                _ = stop.wait_for(|stop| *stop) => Status::unavailable("this replica of the operator stops"),
                () = sender.closed() => return,
            };
            let _ = sender.send(Box::new(Err(end))).await;
            return;
        }
    });
    said
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use control::v1::{Denied, Pending};
    use tokio_stream::StreamExt as _;

    use super::*;

    fn standing(standing: standing::Standing) -> Standing {
        Standing { name: "areq-1".to_owned(), standing: Some(standing) }
    }

    fn pending(have: u32) -> Standing {
        standing(standing::Standing::Pending(Pending { have, need: 9 }))
    }

    #[tokio::test]
    async fn the_newest_standing_until_it_ends() {
        let (sender, receiver) = watch::channel(pending(0));
        let (_stop, stopped) = watch::channel(false);
        let until = Instant::now() + Duration::from_secs(3600);
        let mut told = follow(receiver, until, stopped);
        assert_eq!(told.next().await.unwrap().unwrap(), pending(0));
        for have in 1..=5 {
            sender.send_replace(pending(have));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // One waited in the queue; after it comes the last, and none in between.
        assert_eq!(told.next().await.unwrap().unwrap(), pending(1));
        assert_eq!(told.next().await.unwrap().unwrap(), pending(5));
        let denied = standing(standing::Standing::Denied(Denied::default()));
        sender.send_replace(denied.clone());
        assert_eq!(told.next().await.unwrap().unwrap(), denied);
        assert!(told.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stop_and_the_end_of_a_certificate_are_told() {
        for (stops, code) in [(true, tonic::Code::Unavailable), (false, tonic::Code::Unauthenticated)] {
            let (_sender, receiver) = watch::channel(pending(0));
            let (stop, stopped) = watch::channel(false);
            let until = Instant::now() + Duration::from_millis(if stops { 3_600_000 } else { 200 });
            let mut told = follow(receiver, until, stopped);
            told.next().await.unwrap().unwrap();
            if stops {
                stop.send_replace(true);
            }
            assert_eq!(told.next().await.unwrap().unwrap_err().code(), code);
        }
    }
}
