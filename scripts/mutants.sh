#!/usr/bin/env bash
# Breaks the code in each way that cargo-mutants knows, one at a time, and looks whether a test fails. Keeps in
# docs/evidence/mutants.json how many were caught, and the list of those that were not.
#   PARTS='policy pgcodec gate'   only these
#   FRESH=1                       from the start, also where the code is the same: for who changed or removed tests
# Hours. A second run goes on where the first was stopped while the code is the same: a new test takes nothing from what was
# caught, and looks again at what was not.
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build database mutants
have jq || fail 'jq is missing: it keeps docs/evidence/mutants.json'
export PATH=$target/tools/bin:$PATH
evidence=docs/evidence/mutants.json

# What is broken, the package whose tests have to see it, and what it counts for.
part() { # PART
    case $1 in
        policy) files=('crates/policy/src/**/*.rs') package=policy code=(crates/policy/src crds/src) ;;
        pgcodec) files=('crates/pgcodec/src/**/*.rs') package=pgcodec code=(crates/pgcodec/src) ;;
        gate) files=(sidecar/src/gate.rs 'sidecar/src/gate/*.rs') package=sidecar code=(sidecar/src/gate sidecar/src/gate.rs) ;;
        *) fail "scripts/mutants.sh knows no part \`$1\`" ;;
    esac
}

# gather FOLDER: the lists of the last run, also of one that was stopped, go to those of all runs of this code.
gather() {
    local kind
    for kind in caught timeout unviable missed; do
        touch "$1/$kind"
        sort -u "$1/$kind" "$1/mutants.out/$kind.txt" -o "$1/$kind" 2>/dev/null || true
    done
}

# list FOLDER KIND: as JSON.
list() { jq -R . <"$1/$2" | jq -s .; }

for name in ${PARTS:-policy pgcodec gate}; do
    part "$name"
    [ -z "$(git status --porcelain -- "${code[@]}")" ] || fail "$name has uncommitted changes: nothing could be kept"
    commit=$(git log -1 --format=%H -- "${code[@]}")
    folder=$target/mutants/$name
    [ -z "${FRESH:-}" ] && [ "$(cat "$folder/commit" 2>/dev/null)" = "$commit" ] || rm -rf "$folder"
    mkdir -p "$folder"
    printf '%s\n' "$commit" >"$folder/commit"
    gather "$folder"
    what=(--package "$package")
    for file in "${files[@]}"; do what+=(--file "$file"); done
    all=$(cargo mutants "${what[@]}" --list | wc -l)
    say "$name: $all ways to break it"
    # 2: some were not caught. 3: some ran out of time. What else there is, is a failure of the run.
    status=0
    # A busy machine is slow, which is no proof of anything: a test may take two minutes before it counts as hanging. Each
    # worker builds in its own copy of the tree, into a folder of its own, again and again: without debug information.
    env -u CARGO_TARGET_DIR CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=false \
        cargo mutants "${what[@]}" --output "$folder" --iterate --jobs "$(nproc)" --minimum-test-timeout 120 --colors never \
        --no-times || status=$?
    case $status in 0|2|3) ;; *) fail "cargo mutants ended with $status" ;; esac
    gather "$folder"
    kept=$(cat "$evidence" 2>/dev/null || echo '{}')
    # One that hangs is one that is seen. What was missed once and caught by a later run is caught.
    jq --arg name "$name" --arg code "$commit" --argjson all "$all" --argjson caught "$(list "$folder" caught)" \
        --argjson hang "$(list "$folder" timeout)" --argjson no "$(list "$folder" unviable)" \
        --argjson missed "$(list "$folder" missed)" '
        ($missed - $caught - $hang) as $left | .figures[$name] = {
            code: $code, all: $all, caught: ($caught + $hang | unique | length), not_to_be_built: ($no | length),
            missed: ($left | length), what_was_missed: $left
        }' <<<"$kept" | jq -S . >"$evidence.new"
    mv "$evidence.new" "$evidence"
    jq -r --arg name "$name" '.figures[$name] | "\(.caught) caught, \(.missed) not, \(.not_to_be_built) do not build"' "$evidence"
done
