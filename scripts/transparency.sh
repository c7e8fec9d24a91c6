#!/usr/bin/env bash
# The suites of real drivers past the sidecar and through it, under the widest policy that can be written, compared test by
# test. A difference without a reason in e2e/transparency/reasons fails. Keeps the figures in docs/evidence/transparency.json.
#   DRIVERS='asyncpg pgx'   only these; a second run goes on where the first stopped     FRESH=1   anew
# With AGENTACCESS_BIN_DIR the sidecar there is run, as it is.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build transparency
if [ -z "${AGENTACCESS_BIN_DIR:-}" ]; then
    say 'building'
    cargo build --locked --quiet -p sidecar
    AGENTACCESS_BIN_DIR=$target/debug
fi
# shellcheck disable=SC2086 # a list of words
exec python3 -B e2e/transparency/run.py "$target/suites" "$AGENTACCESS_BIN_DIR" ${DRIVERS:-}
