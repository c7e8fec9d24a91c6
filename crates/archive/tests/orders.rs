//! In whatever order two replicas are given segments and checkpoints, also cut or mixed up: what is kept is a prefix of
//! what was recorded, it verifies, and in the right order all of it goes in.

mod common;

use std::sync::OnceLock;

use archive::{Credentials, Library, Location, ShelfError};
use common::{Made, id, made, witness};
use proptest::prelude::*;
use recording::verify::Verdict;

#[derive(Clone, Debug)]
enum Step {
    Keep(usize),
    /// The lines of one segment, of which some are left out at the end, or two change places.
    Cut(usize, usize),
    Swap(usize, usize),
    /// Two segments as one.
    Joined(usize, usize),
    /// A checkpoint, with the lines since what was countersigned.
    Countersign(usize),
}

fn recorded() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| made(40))
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let n = 0..8_usize;
    let step = prop_oneof![
        4 => n.clone().prop_map(Step::Keep),
        1 => (n.clone(), 1..6_usize).prop_map(|(n, lines)| Step::Cut(n, lines)),
        1 => (n.clone(), 1..6_usize).prop_map(|(n, at)| Step::Swap(n, at)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Joined(a, b)),
        3 => n.prop_map(Step::Countersign),
    ];
    (any::<bool>(), step)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_what_was_recorded(steps in proptest::collection::vec(step(), 1..24)) {
        let (made, witness) = (recorded(), witness());
        let dir = tempfile::tempdir().unwrap();
        let location = Location::folder(dir.path()).unwrap();
        let library = Library::open(&location, &Credentials::None).unwrap();
        // Each replica has a handle of its own.
        let replica = || archive::Store::open(&location, &Credentials::None).unwrap();
        let stores = [replica(), replica()];
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let segment = |n: usize| made.segments.get(n % made.segments.len()).unwrap().clone();
        let lines = |n: usize| segment(n).split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
        runtime.block_on(async {
            let shelves = stores.each_ref().map(|store| store.shelf(&id("u-1")));
            shelves[0].begin(&made.meta()).await.unwrap();
            for (second, step) in steps {
                let shelf = &shelves[usize::from(second)];
                let before = shelf.standing().await.unwrap();
                match step {
                    Step::Keep(n) => {
                        let whole = segment(n);
                        let kept = shelf.keep(&whole).await;
                        let first: recording::Line = serde_json::from_slice(lines(n).first().unwrap()).unwrap();
                        // A part of it may have been kept before: then it stays at that.
                        prop_assert!(kept.is_ok() || first.seq != before.archived, "{kept:?}");
                    }
                    Step::Cut(n, count) => {
                        let mut some = lines(n);
                        some.truncate(some.len().saturating_sub(count));
                        let _ = shelf.keep(&some.concat()).await;
                    }
                    Step::Swap(n, at) => {
                        let mut some = lines(n);
                        let at = at.min(some.len() - 1);
                        some.swap(at - 1, at);
                        prop_assert!(shelf.keep(&some.concat()).await.is_err());
                    }
                    Step::Joined(a, b) => {
                        // A header in the middle: no segment of anybody.
                        prop_assert!(shelf.keep(&[segment(a), segment(b)].concat()).await.is_err());
                    }
                    Step::Countersign(n) => {
                        let note = made.notes.get(n % made.notes.len()).unwrap();
                        let from = before.countersigned;
                        let signed = match from <= note.head.size {
                            true => shelf.countersign(&note.note, &made.hashes(from, note.head.size), &witness).await,
                            false => shelf.countersign(&note.note, &[], &witness).await,
                        };
                        match signed {
                            Ok(_) => prop_assert!(from <= note.head.size),
                            Err(ShelfError::NotAnExtension(_)) => prop_assert!(from > note.head.size),
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                let (one, two) = (shelves[0].standing().await.unwrap(), shelves[1].standing().await.unwrap());
                prop_assert_eq!(&one, &two);
                prop_assert!(one.archived >= before.archived && one.countersigned >= before.countersigned);
            }
            Ok(())
        })?;
        let audit = library.audit(&id("u-1"), witness.public()).unwrap();
        let kept = audit.report.entries;
        prop_assert!(
            !matches!(audit.report.verdict, Verdict::Fault { .. } | Verdict::OtherHead { .. }),
            "{}", audit.report.verdict
        );
        let mut chain = recording::chain::Chain::default();
        made.lines.iter().take(usize::try_from(kept).unwrap()).for_each(|line| chain.push(line));
        prop_assert_eq!(audit.report.head, chain.head(), "a prefix of what was recorded");
    }
}
