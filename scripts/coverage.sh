#!/usr/bin/env bash
# How many lines of crates/policy its own tests run; at least 95 of 100. Keeps the figures in docs/evidence/coverage.json.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build coverage
have jq || fail 'jq is missing: it reads what was counted'
export PATH=$target/tools/bin:$PATH CARGO_TARGET_DIR=$target/coverage
say 'running the tests of crates/policy'
cargo llvm-cov --locked --quiet --package policy --json --summary-only --output-path "$target/coverage.json" >/dev/null
mkdir -p docs/evidence
jq --arg commit "$(git rev-parse HEAD)" --arg changed "$(git status --porcelain -- crates)" '
    .data[0] as $all | {
        commit: $commit, uncommitted_changes: ($changed != ""),
        figures: {policy: {
            lines: ([$all.files[] | select(.filename | contains("/crates/policy/src/")).summary.lines] | {
                covered: (map(.covered) | add), all: (map(.count) | add)}),
            files: ([$all.files[] | select(.filename | contains("/crates/policy/src/")) | {
                key: (.filename | sub(".*/crates/policy/src/"; "")), value: .summary.lines.percent}] | from_entries)}}}
' "$target/coverage.json" | jq -S . >docs/evidence/coverage.json
jq -r '.figures.policy.lines | "\(.covered) of \(.all) lines"' docs/evidence/coverage.json
jq -e '.figures.policy.lines | .covered * 100 >= .all * 95' docs/evidence/coverage.json >/dev/null \
    || fail 'less than 95 of 100 lines of crates/policy are run by its tests'
