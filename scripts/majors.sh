#!/usr/bin/env bash
# Runs what needs a real server against PostgreSQL 14 to 18, and the demo with each; ends with a table. Arguments are
# the majors to run, all of them unless told.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build majors
scripts/build.sh
majors=("$@")
[ $# -gt 0 ] || majors=(14 15 16 17 18)

# Those that start servers from AGENTACCESS_POSTGRES.
tests=()
for file in crates/pgcodec/tests/real_server.rs crates/pgsql/tests/{functions,kinds,masking,reached,statements}.rs \
    e2e/tests/{fixtures,bypass_*,govern_*,verify_*,crash_*}.rs; do
    [ -e "$file" ] || fail "$file is not there"
    test=${file##*/}
    tests+=("${test%.rs}")
done

logs=$target/majors
rm -rf "$logs" && mkdir -p "$logs"
declare -A cells
failures=0
# run MAJOR NAME COMMAND...: what it said is kept; the cell says how many tests passed, of how many if not all did.
run() {
    local log=$logs/$1-$2.log cell=passed passed failed
    AGENTACCESS_POSTGRES=$target/tools/postgres/$1 "${@:3}" >"$log" 2>&1 </dev/null || cell=FAILED
    if [ "$2" != demo ]; then
        read -r passed failed < <(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 \2/p' "$log" | tail -n 1) || true
        # A run without a single test has shown nothing.
        if [ "$cell ${failed:-1}" = 'passed 0' ] && [ "$passed" -gt 0 ]; then cell="passed $passed"
        else cell="FAILED ${passed:-0}/$((${passed:-0} + ${failed:-0}))"; fi
    fi
    [ "$cell" = "${cell#FAILED}" ] || failures=$((failures + 1))
    cells[$1-$2]=$cell
    say "PostgreSQL $1: $2: $cell"
}
for major in "${majors[@]}"; do
    [ -x "$target/tools/postgres/$major/bin/postgres" ] || fail "there is no PostgreSQL $major among those of setup.sh"
    for test in "${tests[@]}"; do
        run "$major" "$test" cargo test --locked --quiet --workspace --test "$test"
    done
    run "$major" demo scripts/demo.sh
done

printf '\n%-18s' test
for major in "${majors[@]}"; do printf '%-12s' "$major"; done
for test in "${tests[@]}" demo; do
    printf '\n%-18s' "$test"
    for major in "${majors[@]}"; do printf '%-12s' "${cells[$major-$test]}"; done
done
printf '\n'
[ "$failures" = 0 ] || fail "$failures of these failed; what they said is in $logs"
