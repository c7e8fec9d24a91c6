//! What the tests of the parts share.

use std::collections::BTreeMap;

use control::Mark;

use super::wanted::Wanted;
use crate::index::tests::{UID, fill, pod};
use crate::index::{Key, Kind, Survey, World};

pub(super) fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }
}

/// One pod in `shop` with a policy `p`, its target `db` and the target's Secret `login`.
pub(super) fn world() -> World {
    let mut world = World::new(900);
    fill(&mut world);
    world
}

/// With so many pods in `shop`, all alike.
pub(super) fn crowded(pods: usize) -> World {
    let mut world = world();
    for n in 1..pods {
        world.set_pod(pod(&uid(n), "shop", "x"));
    }
    world
}

pub(super) fn uid(n: usize) -> String {
    if n == 0 { UID.to_owned() } else { format!("{n:08x}-6a0d-4a57-9c1d-0123456789ab") }
}

/// The marks of what counts for the first `synced` pods of `shop`.
pub(super) fn marks(world: &World, synced: usize) -> Vec<Mark> {
    let name = |n| control::PodName::new("shop", &uid(n)).unwrap();
    (0..synced).filter_map(|n| world.revision(&name(n)).ok()?.parse().ok()).collect()
}

pub(super) fn survey(world: &World, marks: &[Mark]) -> Survey {
    let mut survey = Survey::default();
    let mut after: Option<String> = None;
    loop {
        after = world.survey(after.as_deref(), 2, &|mark: &Mark| marks.contains(mark), &mut survey);
        if after.is_none() {
            return survey;
        }
    }
}

pub(super) fn wanted(world: &World, marks: &[Mark], key: &Key) -> Wanted {
    Wanted::of(world, key, world.object(key).unwrap(), &survey(world, marks).tally(key))
}

/// `Type=Status/Reason` of each condition.
pub(super) fn words(wanted: &Wanted) -> String {
    let word = |said: &super::wanted::Said| format!("{}={:?}/{}", said.type_, said.status, said.reason);
    wanted.said.iter().map(word).collect::<Vec<_>>().join(" ")
}

pub(super) fn message(wanted: &Wanted, type_: &str) -> String {
    let messages: BTreeMap<&str, &String> = wanted.said.iter().map(|said| (said.type_, &said.message)).collect();
    messages[type_].clone()
}
