# Sourced, after scripts/lib.sh, by the jobs that run for minutes or hours on a cluster of their own.
. e2e/cluster/lib.sh

scripts/setup.sh build chart cluster
export KUBECONFIG=$kubeconfig
trap 'e2e/cluster/down.sh' EXIT

# prepared TEST: builds the programs and the test, which `tests` then runs, and brings up the cluster with their images.
prepared() {
    say 'building the programs and the test'
    cargo build --locked --quiet --workspace --bins
    tests=(cargo test --locked --workspace --features e2e/cluster,operator/cluster --test "$1")
    "${tests[@]}" --quiet --no-run
    e2e/cluster/up.sh
    e2e/cluster/images.sh programs
}
