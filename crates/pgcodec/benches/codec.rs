//! What it costs to find the messages in a stream, and to decode and encode them.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgcodec::{Backend, Framer, Frontend, Limits};
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend;

const ROWS: usize = 1_000;
/// Of each of four columns.
const WIDTH: usize = 24;

/// A result as a target sends it.
fn rows() -> BytesMut {
    let mut out = BytesMut::new();
    for _ in 0..ROWS {
        out.put_u8(b'D');
        out.put_u32(u32::try_from(4 + 2 + 4 * (4 + WIDTH)).unwrap());
        out.put_u16(4);
        for _ in 0..4 {
            out.put_u32(u32::try_from(WIDTH).unwrap());
            out.put_bytes(b'x', WIDTH);
        }
    }
    out
}

/// One use of a prepared statement.
fn prepared() -> BytesMut {
    let mut out = BytesMut::new();
    let write = |value: &str, out: &mut BytesMut| {
        out.put_slice(value.as_bytes());
        Ok(IsNull::No)
    };
    frontend::bind("", "s1", [], ["17"], write, [0], &mut out).map_err(|_| ()).unwrap();
    frontend::execute("", 0, &mut out).unwrap();
    frontend::sync(&mut out);
    out
}

fn codec(criterion: &mut Criterion) {
    let limits = Limits::default();
    let (rows, prepared) = (rows(), prepared());
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(rows.len() as u64));
    group.bench_function("frames of 1,000 rows", |bench| {
        bench.iter(|| {
            let mut framer = Framer::backend(&limits);
            framer.push(black_box(&rows)).unwrap();
            let mut found = 0;
            while framer.next().unwrap().is_some() {
                found += 1;
            }
            assert_eq!(found, ROWS);
        });
    });
    group.bench_function("decode and encode 1,000 rows", |bench| {
        bench.iter(|| {
            let (mut framer, mut out) = (Framer::backend(&limits), BytesMut::with_capacity(rows.len()));
            framer.push(black_box(&rows)).unwrap();
            while let Some(frame) = framer.next().unwrap() {
                Backend::decode(&frame).unwrap().encode(&mut out).unwrap();
            }
            assert_eq!(out.len(), rows.len());
        });
    });
    group.throughput(Throughput::Bytes(prepared.len() as u64));
    group.bench_function("decode and encode Bind, Execute and Sync", |bench| {
        bench.iter(|| {
            let (mut framer, mut out) = (Framer::frontend(&limits), BytesMut::with_capacity(prepared.len()));
            framer.push(black_box(&prepared)).unwrap();
            while let Some(frame) = framer.next().unwrap() {
                Frontend::decode(&frame, &limits).unwrap().encode(&mut out).unwrap();
            }
            assert_eq!(out, prepared);
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
