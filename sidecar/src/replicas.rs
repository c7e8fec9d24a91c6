//! What has to be in the operator's store before its operation is sent, and how far the store has come.
//!
//! Who waits says up to which entry; what takes entries there ([`crate::control::shipping::Replicating`]) says how far
//! they are, or what is missing. Nothing is held here: the recording on the disk is the queue. Refused: to wait where
//! nothing would ever come. Invariant: nobody is told that an entry is there before the operator said so of that entry.

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error("there is no operator here to replicate to")]
    NoOperator,
    #[error("the operator has no store of recordings")]
    NoStore,
    #[error("the operator is away")]
    Operator,
    #[error("the operator's store of recordings is away")]
    Store,
    #[error("the operator's store of recordings is full")]
    Full,
    #[error("the operator may not write to its store of recordings")]
    Forbidden,
    #[error("the operator knows another recording of this pod")]
    Refused,
    #[error("the recording of this pod cannot be read back")]
    Unreadable,
    #[error("the operator did not store the record in time")]
    Slow,
}

/// How far entries are in the store, and why they come no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct There {
    pub(crate) size: u64,
    pub(crate) missing: Option<Missing>,
}

/// For who waits.
#[derive(Clone, Debug)]
pub struct Replicas {
    wanted: watch::Sender<u64>,
    there: watch::Receiver<There>,
}

/// For what takes entries to the store. Dropped, everybody who waits is told that there is none.
#[derive(Debug)]
pub struct Behind {
    pub(crate) wanted: watch::Receiver<u64>,
    pub(crate) there: watch::Sender<There>,
}

impl Missing {
    /// Waiting does not help: somebody has to change something.
    fn is_lasting(self) -> bool {
        match self {
            Self::NoOperator | Self::NoStore | Self::Full | Self::Forbidden | Self::Refused | Self::Unreadable => true,
            Self::Operator | Self::Store | Self::Slow => false,
        }
    }

    /// What is to be done, for the agent to tell.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoOperator => "Nothing was executed. Its policy has to ask for another `recording.durability`.",
            Self::NoStore => {
                "Nothing was executed. The operator needs a store (`recordings.store` of its chart), or the policy another \
                 `recording.durability`."
            }
            Self::Full | Self::Forbidden => "Nothing was executed. Whoever keeps the store of recordings has to look.",
            Self::Refused | Self::Unreadable => {
                "Nothing was executed. Somebody has to look at the recording of this pod; a new pod begins a new one."
            }
            Self::Operator | Self::Store | Self::Slow => {
                "Nothing was executed. It goes on by itself when that is back; try again later."
            }
        }
    }
}

impl Replicas {
    pub fn new() -> (Self, Behind) {
        let (wanted, wants) = watch::channel(0);
        let (sender, there) = watch::channel(There::default());
        (Self { wanted, there }, Behind { wanted: wants, there: sender })
    }

    /// Nothing is taken anywhere.
    pub fn none() -> Self {
        Self::new().0
    }

    /// Until entry `seq` is in the store. The writer has to have acknowledged it as synced: it is read back.
    ///
    /// # Errors
    /// When it is not there by `deadline`, or what is missing stays so. It may come there later all the same.
    pub async fn until(&self, seq: u64, deadline: Instant) -> Result<(), Missing> {
        let size = seq.saturating_add(1);
        self.wanted.send_if_modified(|wanted| {
            let more = *wanted < size;
            *wanted = size.max(*wanted);
            more
        });
        let mut there = self.there.clone();
        loop {
            let now = *there.borrow_and_update();
            match now.missing {
                _ if now.size >= size => return Ok(()),
                Some(missing) if missing.is_lasting() => return Err(missing),
                _ => {}
            }
            match timeout_at(deadline, there.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Missing::NoOperator),
                Err(_) => return Err(now.missing.unwrap_or(Missing::Slow)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[tokio::test]
    async fn only_what_was_said_of_that_entry_counts() {
        let (replicas, behind) = Replicas::new();
        assert_eq!(replicas.until(4, soon()).await, Err(Missing::Slow));
        assert_eq!(*behind.wanted.borrow(), 5);
        behind.there.send_replace(There { size: 4, missing: None });
        assert_eq!(replicas.until(4, soon()).await, Err(Missing::Slow), "that is the one before it");
        behind.there.send_replace(There { size: 5, missing: None });
        assert_eq!(replicas.until(4, soon()).await, Ok(()));
        assert_eq!(replicas.until(2, soon()).await, Ok(()));
        assert_eq!(*behind.wanted.borrow(), 5, "and less is never wanted");
    }

    #[tokio::test]
    async fn what_is_missing_is_said_at_once_where_waiting_does_not_help() {
        let (replicas, behind) = Replicas::new();
        for missing in [Missing::NoStore, Missing::Full, Missing::Forbidden, Missing::Refused, Missing::Unreadable] {
            behind.there.send_replace(There { size: 3, missing: Some(missing) });
            let begun = Instant::now();
            let late = begun + Duration::from_secs(60);
            assert_eq!(replicas.until(3, late).await, Err(missing));
            assert!(begun.elapsed() < Duration::from_secs(5));
            // What is there is there.
            assert_eq!(replicas.until(2, late).await, Ok(()));
        }
        for missing in [Missing::Operator, Missing::Store] {
            behind.there.send_replace(There { size: 3, missing: Some(missing) });
            assert_eq!(replicas.until(3, soon()).await, Err(missing));
        }
        drop(behind);
        assert_eq!(replicas.until(3, soon()).await, Err(Missing::NoOperator));
        assert_eq!(Replicas::none().until(0, soon()).await, Err(Missing::NoOperator));
    }
}
