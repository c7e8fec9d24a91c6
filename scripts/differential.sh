#!/usr/bin/env bash
# What a statement is said to touch, compared with what the server touches, over PostgreSQL's own regression SQL; ten minutes
# for each. Keeps the figures in docs/evidence/differential-MAJOR.json.
#   MAJORS='14 15 16 17 18'   of these servers; without it, of the one that is installed
. "$(dirname "$0")/lib.sh"

servers=database
[ -z "${MAJORS:-}" ] || servers=majors
scripts/setup.sh build "$servers"
cargo build --locked --quiet -p pgsql --example differential
if [ -z "${MAJORS:-}" ]; then
    "$target/debug/examples/differential"
fi
for major in ${MAJORS:-}; do
    say "PostgreSQL $major"
    AGENTACCESS_POSTGRES=$target/tools/postgres/$major "$target/debug/examples/differential"
done
