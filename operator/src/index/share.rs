//! Which Secrets are followed when targets name more than there is room for. Pure: the same names give the same choice,
//! on every replica and whatever came first.
//!
//! Invariants: no more than [`MOST`] in all and [`SHARE`] of one namespace; and a namespace loses a place only to one
//! that has no more than it, so that nobody's many names cost another its few.

use std::collections::{BTreeMap, BTreeSet};

/// In the whole cluster.
pub(super) const MOST: usize = 2_048;
/// Of one namespace.
pub(super) const SHARE: usize = 256;

/// Namespace and name of a Secret.
pub(super) type Name = (String, String);
/// Each Secret that a target names.
pub(super) type Named = BTreeMap<Name, Naming>;

/// Who names a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Naming {
    /// One of the targets is named by a policy.
    pub(super) led: bool,
    /// The forms of the targets: another one for each change of them.
    pub(super) by: BTreeSet<String>,
}

/// Those that are followed: in each namespace the ones that policies lead to come first, then the order of names counts;
/// of all namespaces the first of each, then the second of each, and so on.
pub(super) fn followed(named: &Named) -> BTreeSet<Name> {
    let mut spaces: BTreeMap<&str, Vec<(bool, &Name)>> = BTreeMap::new();
    for (name, naming) in named {
        spaces.entry(&name.0).or_default().push((!naming.led, name));
    }
    let mut ranked: Vec<(usize, &Name)> = Vec::new();
    for mut space in spaces.into_values() {
        space.sort_unstable();
        ranked.extend(space.into_iter().take(SHARE).enumerate().map(|(rank, (_, name))| (rank, name)));
    }
    ranked.sort_unstable();
    ranked.into_iter().take(MOST).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(space: &str, n: usize) -> Name {
        (space.to_owned(), format!("s{n:04}"))
    }

    fn add(named: &mut Named, space: &str, numbers: std::ops::Range<usize>, led: bool) {
        let naming = Naming { led, ..Naming::default() };
        named.extend(numbers.map(|n| (name(space, n), naming.clone())));
    }

    #[test]
    fn a_namespace_has_its_share_and_policies_say_which_come_first() {
        let mut named = Named::new();
        add(&mut named, "many", 0..SHARE + 3, false);
        add(&mut named, "few", 0..2, false);
        let all = followed(&named);
        assert_eq!(all.len(), SHARE + 2);
        assert!(all.contains(&name("many", SHARE - 1)) && !all.contains(&name("many", SHARE)));
        // The last by its name, and a policy leads to it.
        add(&mut named, "many", SHARE + 2..SHARE + 3, true);
        let all = followed(&named);
        assert!(all.contains(&name("many", SHARE + 2)) && !all.contains(&name("many", SHARE - 1)));
        assert_eq!(all.len(), SHARE + 2);
    }

    #[test]
    fn those_with_many_share_what_is_left_over() {
        let mut named = Named::new();
        for n in 0..20 {
            add(&mut named, &format!("a{n:02}"), 0..1_000, true);
        }
        add(&mut named, "z", 0..50, false);
        let all = followed(&named);
        assert_eq!(all.len(), MOST);
        assert_eq!(all.iter().filter(|(space, _)| space == "z").count(), 50);
        // 1,998 places for twenty.
        let of = |space: &str| all.iter().filter(|(one, _)| one == space).count();
        assert!((0..20).all(|n| (99..=100).contains(&of(&format!("a{n:02}")))), "{all:?}");
    }

    proptest! {
        /// Whatever others name, a namespace keeps what it would have if all had as many as it.
        #[test]
        fn nobody_is_starved(sizes in prop::collection::vec(0..600usize, 1..24), led in any::<u32>()) {
            let mut named = Named::new();
            for (n, size) in sizes.iter().enumerate() {
                add(&mut named, &format!("n{n:02}"), 0..*size, led >> n & 1 == 1);
            }
            let all = followed(&named);
            prop_assert!(all.len() <= MOST);
            for (n, size) in sizes.iter().enumerate() {
                let own = all.iter().filter(|(space, _)| *space == format!("n{n:02}")).count();
                let fair = (MOST / sizes.len()).min(SHARE);
                prop_assert!(own <= SHARE && own >= (*size).min(fair), "{own} of {size}");
            }
            // Who is beyond changes nothing for those who are not.
            let kept: Named = named.into_iter().filter(|(name, _)| all.contains(name)).collect();
            prop_assert_eq!(followed(&kept), all);
        }
    }
}
