#!/usr/bin/env bash
# What single steps cost: decide, classify, codec, find, append. Arguments go to criterion (a filter, --save-baseline NAME).
# Reports are below target/criterion.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build
cargo bench --locked --quiet -p policy -p pgsql -p pgcodec -p detect -p recording \
    --bench decide --bench classify --bench codec --bench find --bench append -- "$@"
