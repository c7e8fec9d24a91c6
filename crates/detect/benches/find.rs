//! What it costs to look for what is sensitive in values.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use detect::{KINDS, Kinds};

const VALUES: [(&str, &str); 4] = [
    ("number", "4711"),
    ("name", "Ada Lovelace"),
    ("sentence", "The parcel 1Z-9981-2234 was left at the door on 2026-11-02 at 14:05, ask for Mr. Smith."),
    ("card", "pays with 4111 1111 1111 1111 from now on"),
];

fn find(criterion: &mut Criterion) {
    let kinds: Kinds = KINDS.into_iter().collect();
    let mut group = criterion.benchmark_group("find");
    for (name, value) in VALUES {
        group.throughput(Throughput::Bytes(value.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), value, |bench, value| {
            bench.iter(|| detect::find(black_box(value.as_bytes()), kinds).count());
        });
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
