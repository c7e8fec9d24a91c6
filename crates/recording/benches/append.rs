//! What it costs to have an intent and an outcome in the recording, when it is empty and when it is long.
//!
//! In the folder for temporary files: set TMPDIR to a file system that is like a node's.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use common::{config, data, intent, key, open_any, outcome, write};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use recording::{Durability, FsStorage, WriterConfig};

const MIB: u64 = 1024 * 1024;
const LENGTHS: [u64; 3] = [0, 64, 1024];
/// Of one entry that makes the recording long.
const PIECE: usize = 64 * 1024;

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for mib in LENGTHS {
        let folder = tempfile::tempdir().unwrap();
        let storage = Arc::new(FsStorage::open(folder.path()).unwrap());
        let limits = WriterConfig { max_bytes: 4096 * MIB, ..config() };
        let (writer, _) = open_any(storage, key(), limits);
        let piece = "x".repeat(PIECE);
        let pieces = mib * MIB / PIECE as u64;
        for _ in 0..pieces {
            write(&writer, data(piece.as_bytes()), Durability::Written).unwrap();
        }
        for (name, durability) in [("written", Durability::Written), ("synced", Durability::Synced)] {
            let mut n = 0;
            group.bench_function(BenchmarkId::new(name, format!("{mib} MiB")), |bench| {
                bench.iter(|| {
                    n += 1;
                    write(&writer, intent(n), durability).unwrap();
                    write(&writer, outcome(n), Durability::Written).unwrap();
                });
            });
        }
        writer.close().unwrap();
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
