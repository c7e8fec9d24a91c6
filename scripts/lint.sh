#!/usr/bin/env bash
# Format, clippy, documentation, supply chain, generated definitions, layout.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh lint
say 'format'
cargo fmt --all --check
say 'clippy'
cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
say 'clippy, with failpoints and the tests on a cluster'
cargo clippy --locked --quiet --workspace --all-targets --features sidecar/failpoints,e2e/cluster,operator/cluster -- -D warnings
say 'documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --locked --quiet --workspace --no-deps --document-private-items
say 'supply chain'
# Also what other systems than this would build: cargo-deny reads the manifests of all, and asks the network for none.
cargo fetch --locked --quiet
"$target/tools/bin/cargo-deny" --offline --locked check --deny unmatched-skip --deny unnecessary-skip \
    bans licenses sources
say 'generated definitions'
cargo run --locked --quiet -p crds --bin generate -- --check
say 'layout'
# The whole workspace, as `make test` builds it.
cargo test --locked --quiet --workspace --test layout
say 'chart'
scripts/chart.sh lint
say 'shell'
for script in scripts/*.sh e2e/cluster/*.sh .ci/run; do bash -n "$script"; done
python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' scripts/dashboards.py
