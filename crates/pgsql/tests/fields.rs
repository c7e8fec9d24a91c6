//! The visitor reaches every node of every statement of PostgreSQL's regression corpus.
#![expect(clippy::string_slice, clippy::indexing_slicing, reason = "test helpers")]

mod corpus;

use std::collections::BTreeMap;

use pgsql::visit::{Next, name, walk};
use pgsql::{Limits, parse};

/// The counts are those of the pinned grammar and its corpus: a change in either is to be looked at.
#[test]
fn every_printed_node_is_visited_and_nothing_else() {
    corpus::on_stack(256 << 20, || {
        let limits = Limits::default();
        let (mut statements, mut nodes, mut relations, mut seen) = (0, 0, 0, BTreeMap::<String, usize>::new());
        for text in corpus::statements() {
            let Ok(parsed) = parse(&text, &limits) else { continue };
            let mut visited = BTreeMap::<String, usize>::new();
            let counts = walk(parsed.root(), &limits, |visit| {
                if !matches!(visit.node, pg_raw_parse::Node::NodeList(_)) {
                    *visited.entry(name(visit.node).to_owned()).or_default() += 1;
                }
                Ok(Next::Into)
            })
            .unwrap();
            assert_eq!(counts, parsed.counts());
            assert_eq!(visited, types(&format!("{:?}", parsed.root())), "{text}");
            statements += 1;
            nodes += visited.values().sum::<usize>();
            relations += visited.get("RangeVar").copied().unwrap_or_default();
            for (name, count) in visited {
                *seen.entry(name).or_default() += count;
            }
        }
        println!("{statements} statements, {nodes} nodes, {relations} RangeVars, {} types", seen.len());
        assert!(statements > 40_000 && relations > 20_000 && seen.len() > 200);
    });
}

/// How often each node type is printed, leaving out what stands inside string values.
fn types(debug: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for part in outside_strings(debug) {
        for (at, _) in part.match_indices(" {") {
            let start = part[..at].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |n| n + 1);
            *found.entry(part[start..at].to_owned()).or_default() += 1;
        }
    }
    found
}

fn outside_strings(debug: &str) -> Vec<&str> {
    let bytes = debug.as_bytes();
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        if bytes[at] == b'"' {
            parts.push(&debug[start..at]);
            at += 1;
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            start = at + 1;
        }
        at += 1;
    }
    parts.push(&debug[start..]);
    parts
}
