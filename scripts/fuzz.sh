#!/usr/bin/env bash
# Runs each fuzz target for FUZZ_SECONDS (60 unless told), with the pinned compiler and no further tool: the flags
# are those of `cargo fuzz --sanitizer none`. Arguments name targets; none means all. What is new goes below the
# target folder; copy what is worth keeping into fuzz/corpus/TARGET, which `make test` replays.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build
seconds=${FUZZ_SECONDS:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
flags+=' -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Cdebug-assertions -Ccodegen-units=1'

if [ $# = 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do set -- "$@" "$(basename "$file" .rs)"; done
fi
say "building the fuzz targets: $*"
# With --target the flags leave build scripts and macros alone. Optimised, since a fuzzer lives by its speed; the
# release profile of the workspace (fat LTO) is not that of fuzz/.
CARGO_TARGET_DIR=$target/fuzz RUSTFLAGS=$flags \
    cargo build --locked --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --bins
for name; do
    say "$name, $seconds s"
    new=$target/fuzz/corpus/$name found=$target/fuzz/artifacts/$name log=$target/fuzz/$name.log
    mkdir -p "$new" "$found" "fuzz/corpus/$name"
    if ! "$target/fuzz/$host/release/$name" "$new" "fuzz/corpus/$name" -max_total_time="$seconds" -rss_limit_mb=2048 \
        -timeout=10 -print_final_stats=1 -artifact_prefix="$found/" >"$log" 2>&1; then
        tail -n 40 "$log"
        fail "$name found an input that fails: see $found"
    fi
    grep -E '^stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$log"
done
