#!/usr/bin/env bash
# Debug builds of all programs and tests, one target folder. The sidecar is built twice: with the feature
# `failpoints` for crash tests, kept under another name, then as it is shipped.
. "$(dirname "$0")/lib.sh"

name=agentaccess-sidecar
# The whole workspace with a test target among it, so that the dependencies' features are those of `cargo test`
# and nothing of them is built twice.
say 'building the sidecar for crash tests'
cargo build --locked --quiet --workspace --bin "$name" --test layout --features sidecar/failpoints
cp "$target/debug/$name" "$target/debug/$name-failpoints.new"
mv "$target/debug/$name-failpoints.new" "$target/debug/$name-failpoints"
say 'building all programs and tests'
cargo build --locked --quiet --workspace --bins --tests
