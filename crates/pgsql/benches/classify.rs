//! What it costs to parse, classify and rewrite one statement, with and without masks.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/support/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::panic, clippy::indexing_slicing, reason = "the tests use the rest")]
mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pgsql::{Catalog, MaskTable};

const CATALOG: &str = include_str!("../tests/data/catalog.json");
const MASKS: &[(&str, &str, &str)] =
    &[("public.users.email", "Partial", "Allow"), ("public.users.ssn", "Redact", "Allow")];
const STATEMENTS: [(&str, &str); 5] = [
    ("begin", "BEGIN"),
    ("point", "SELECT id, name FROM users WHERE id = $1"),
    ("four columns", "SELECT id, name, email, ssn FROM users WHERE id = $1"),
    (
        "join",
        "SELECT u.name, sum(o.total) FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.name ORDER BY 2 DESC LIMIT 10",
    ),
    ("insert", "INSERT INTO orders (id, user_id, total, note) VALUES ($1, $2, $3, $4)"),
];

fn statements(criterion: &mut Criterion) {
    let catalog = Catalog::from_json(CATALOG).unwrap();
    let mut group = criterion.benchmark_group("classify");
    for (name, masks) in
        [("open", MaskTable::default()), ("masked", MaskTable::build(&catalog, &support::rules(MASKS)))]
    {
        for (what, sql) in STATEMENTS {
            support::plan(sql, &catalog, &masks).unwrap();
            group.bench_with_input(BenchmarkId::new(what, name), sql, |bench, sql| {
                bench.iter(|| support::plan(black_box(sql), &catalog, &masks));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, statements);
criterion_main!(benches);
