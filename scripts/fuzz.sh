#!/usr/bin/env bash
# Runs each fuzz target for FUZZ_SECONDS (60 unless told), with the pinned compiler and no further tool: the flags
# are those of `cargo fuzz --sanitizer none`. Arguments name targets; none means all. What is new goes below the
# target folder; copy what is worth keeping into fuzz/corpus/TARGET, which `make test` replays.
#
# Keeps in docs/evidence/fuzz.json, for each target, what was run without a finding since the code that it tests changed
# last, and goes on there: run it again for more. A finding, or other code, begins at nothing. With uncommitted changes of
# that code it runs all the same, and keeps nothing.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build
have jq || fail 'jq is missing: it keeps docs/evidence/fuzz.json'
seconds=${FUZZ_SECONDS:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
evidence=docs/evidence/fuzz.json
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
flags+=' -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Cdebug-assertions -Ccodegen-units=1'

# What a target tests: a change of it begins its count anew. The targets, their checks and the locked libraries count too.
paths() { # TARGET
    local of
    case $1 in
        frontend|backend|machine) of='crates/pgcodec/src crates/pgcodec/tests/support' ;;
        classify|substitute) of='crates/pgsql/src crates/pgsql/data crates/pgsql/tests/checks crates/pgsql/tests/data crates/policy/src' ;;
        mask_rows) of='crates/detect/src crates/pgcodec/src sidecar/src/protocol/postgres/detect sidecar/tests/rows' ;;
        decide|policy_compile) of='crates/policy/src crds/src crates/policy/tests/checks crates/policy/tests/world' ;;
        recording_read) of='crates/recording/src crates/recording/tests/checks' ;;
        control) of='crates/control/src crates/control/proto crates/control/tests/support' ;;
        *) fail "scripts/fuzz.sh does not know what \`$1\` tests" ;;
    esac
    printf '%s\n' $of "fuzz/fuzz_targets/$1.rs" fuzz/Cargo.lock
}

# keep TARGET CODE CPU_SECONDS EXECUTIONS CORPUS: adds to what there is of the same code.
keep() {
    local code=$2 kept
    kept=$(cat "$evidence" 2>/dev/null || echo '{}')
    jq --arg target "$1" --arg code "$code" --arg commit "$(git rev-parse HEAD)" \
        --argjson cpu "$3" --argjson runs "$4" --argjson corpus "$5" --argjson cores "$(nproc)" '
        (.figures[$target] | if .code == $code then . else {} end) as $before
        | .commit = $commit | .cores = $cores | .finished_unix_s = (now | floor)
        | .figures[$target] = {
            code: $code, commit: $commit, corpus_files: $corpus,
            cpu_seconds: (($before.cpu_seconds // 0) + $cpu), executions: (($before.executions // 0) + $runs)}
    ' <<<"$kept" | jq -S . >"$evidence.new"
    mv "$evidence.new" "$evidence"
}

if [ $# = 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do set -- "$@" "$(basename "$file" .rs)"; done
fi
bins=()
for name; do paths "$name" >/dev/null; bins+=(--bin "$name"); done
say "building the fuzz targets: $*"
# With --target the flags leave build scripts and macros alone. Optimised, since a fuzzer lives by its speed; the
# release profile of the workspace (fat LTO) is not that of fuzz/.
CARGO_TARGET_DIR=$target/fuzz RUSTFLAGS=$flags \
    cargo build --locked --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" "${bins[@]}"
for name; do
    say "$name, $seconds s"
    new=$target/fuzz/corpus/$name found=$target/fuzz/artifacts/$name log=$target/fuzz/$name.log
    mapfile -t tested < <(paths "$name")
    mkdir -p "$new" "$found" "fuzz/corpus/$name"
    code=$(git log -1 --format=%H -- "${tested[@]}")
    changed=$(git status --porcelain -- "${tested[@]}")
    TIMEFORMAT='%U'
    status=0
    cpu=$({ time "$target/fuzz/$host/release/$name" "$new" "fuzz/corpus/$name" -max_total_time="$seconds" \
        -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -artifact_prefix="$found/" >"$log" 2>&1; } 2>&1) || status=$?
    if [ "$status" != 0 ]; then
        tail -n 40 "$log"
        # What was kept of this code is no longer true.
        [ -n "$changed" ] || keep "$name" none 0 0 0
        fail "$name found an input that fails: see $found"
    fi
    grep -E '^stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$log"
    if [ -n "$changed" ]; then
        say "$name: what it tests has uncommitted changes, so nothing is kept"
    else
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        keep "$name" "$code" "${cpu%.*}" "$runs" "$(find "$new" "fuzz/corpus/$name" -type f | wc -l)"
    fi
done
