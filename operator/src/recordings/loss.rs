//! Whether the recording of a pod that is gone is whole: a judgement without IO.

use archive::Standing;

/// What is missing, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// These entries were countersigned and never arrived.
    Entries { stored: u64, countersigned: u64 },
    /// It does not end as a recorder that stops in order leaves it: what it recorded last, if anything, is not known.
    End { stored: u64 },
}

impl Loss {
    pub(super) fn of(standing: &Standing) -> Option<Self> {
        // What came before it was sealed is there, too.
        let Standing { countersigned, replicated: stored, orderly_stop, .. } = *standing;
        match orderly_stop {
            _ if stored < countersigned => Some(Self::Entries { stored, countersigned }),
            false => Some(Self::End { stored }),
            true => None,
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entries { stored, countersigned } => {
                let lost = countersigned.saturating_sub(*stored);
                write!(
                    f,
                    "{stored} entries of its recording are in the store; {lost} more were countersigned and are lost"
                )
            }
            Self::End { stored } => {
                write!(
                    f,
                    "{stored} entries of its recording are in the store; it did not stop in order, and what it recorded after them is lost"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_in_order_and_has_all_that_was_vouched_for_is_whole() {
        let of = |countersigned, archived, orderly_stop| {
            let replicated = archived;
            Loss::of(&Standing { countersigned, archived, replicated, next_segment: 2, orderly_stop, until: None })
        };
        assert_eq!(of(9, 10, true), None);
        assert_eq!(of(0, 10, true), None, "nobody was there to countersign");
        assert_eq!(of(10, 10, false), Some(Loss::End { stored: 10 }));
        assert_eq!(of(0, 0, false), Some(Loss::End { stored: 0 }));
        assert_eq!(of(12, 10, false), Some(Loss::Entries { stored: 10, countersigned: 12 }));
        // Nothing is lost that came before it was sealed, but its end is not known.
        let tail = Standing {
            countersigned: 30,
            archived: 10,
            replicated: 40,
            next_segment: 2,
            orderly_stop: false,
            until: None,
        };
        assert_eq!(Loss::of(&tail), Some(Loss::End { stored: 40 }));
        // It stopped once, started again, and what came then was countersigned.
        let lost = of(30, 10, true).unwrap();
        assert_eq!(lost, Loss::Entries { stored: 10, countersigned: 30 });
        assert!(lost.to_string().contains("20 more were countersigned"), "{lost}");
    }
}
