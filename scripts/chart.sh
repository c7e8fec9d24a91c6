#!/usr/bin/env bash
# The chart, for each set of values in charts/agentaccess/ci:
#   chart.sh lint     helm 3 and helm 4 lint and render it; what is rendered fits the schemas of the oldest and newest
#                     Kubernetes, field by field. Needs no cluster.
#   chart.sh server   the API server of KUBECONFIG would take all of it
#   chart.sh render   plain manifests for people without Helm, to standard output
. "$(dirname "$0")/lib.sh"
. e2e/cluster/lib.sh

chart=charts/agentaccess
versions=(1.33.0 1.37.0)

# render HELM VERSION VALUES
render() {
    "$1" template agentaccess "$chart" --namespace agentaccess-system --include-crds --kube-version "$2" \
        --api-versions monitoring.coreos.com/v1 --values "$3"
}

# Kinds that Kubernetes itself does not have are not in its schemas.
known() { awk 'BEGIN { RS = "---\n"; ORS = RS } !/\nkind: (InjectionProfile|ServiceMonitor|PodMonitor|PrometheusRule)\n/ && /\nkind: /'; }

lint() {
    scripts/setup.sh chart
    local values helm version file
    for file in crds/agentaccess.dev_*.yaml; do
        cmp -s "$file" "$chart/files/$file" || fail "$chart/files/$file is not $file: cp $file $chart/files/crds/"
    done
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for values in "$chart"/ci/*-values.yaml; do
        say "chart: ${values##*/}"
        for helm in helm helm3; do
            "$helm" lint --strict --quiet --namespace agentaccess-system --values "$values" "$chart" >"$work/lint" 2>&1 \
                || { cat "$work/lint"; fail "$helm lint"; }
            for version in "${versions[@]}"; do
                file=$work/$helm-$version.yaml
                render "$helm" "$version" "$values" >"$file.all"
                known <"$file.all" >"$file"
                "$target/tools/kubernetes-validate/bin/kubernetes-validate" --strict --quiet \
                    -k "$version" "$file" || fail "$helm, Kubernetes $version"
            done
        done
        # Helm 3 draws the same, in another order and with fewer blank lines.
        diff <(grep . "$work/helm-1.37.0.yaml.all" | sort) <(grep . "$work/helm3-1.37.0.yaml.all" | sort) \
            || fail 'helm 3 and helm 4 differ'
    done
    contradictions
    alerts
}

# The alerts that the chart renders: each is seen firing and resolving.
alerts() {
    say 'alerts'
    local promtool=$target/tools/prometheus/usr/bin/promtool
    render helm 1.37.0 "$chart/ci/everything-values.yaml" >"$work/everything.yaml"
    "$target/tools/kubernetes-validate/bin/python" - "$work/everything.yaml" "$work/alerts.yaml" <<'PYTHON'
import sys, yaml
found = [one for one in yaml.safe_load_all(open(sys.argv[1])) if one and one["kind"] == "PrometheusRule"]
assert len(found) == 1, f"{len(found)} PrometheusRules in {sys.argv[1]}"
yaml.safe_dump(found[0]["spec"], open(sys.argv[2], "w"), sort_keys=False)
PYTHON
    cp "$chart/ci/alerts.test.yaml" "$work"
    "$promtool" check rules "$work/alerts.yaml" >"$work/promtool" 2>&1 || { cat "$work/promtool"; fail 'the alerts are no rules'; }
    "$promtool" test rules "$work/alerts.test.yaml" >"$work/promtool" 2>&1 || { cat "$work/promtool"; fail 'the alerts'; }
}

# What validate.yaml and the schema must stop.
contradictions() {
    local set ca='-----BEGIN CERTIFICATE-----MIIB-----END CERTIFICATE-----'
    for set in webhook.port=9090 replicaCount=0 injection.secrets={nonamespace} sidecar.image.digest=sha256:0 \
        otel.insecure=true otel.endpoint=http://c:4317 otel.endpoint=https://c:4317 otel.endpoint=c:4317 \
        'otel.endpoint=https://user:password@c:4317,otel.insecure=true' 'otel.endpoint=http://{user}:4317,otel.insecure=true' \
        failurePolicy=Ignore credentials.requireHosts=maybe sidecar.stateSize=1024Mi metrics.podMonitor=true \
        metrics.prometheusRule=true recordings.retention=0d recordings.retention=90 recordings.store.credentials=only \
        recordings.store.url=file:///srv recordings.store.url=s3://id:secret@bucket \
        recordings.store.claim=a,recordings.store.url=s3://bucket recordings.store.ca=none \
        "recordings.store.ca=$ca" "recordings.store.ca=$ca,recordings.store.claim=a" \
        "recordings.store.ca=$ca,recordings.store.url=s3://bucket?endpoint=http://a" \
        approvals.notify.port=0 approvals.notify.secretName=Chat approvals.notify.url=https://a \
        'injection.secrets={a/b},rbac.credentials[0].namespace=a,rbac.credentials[0].names={b}'; do
        if helm template agentaccess "$chart" -n agentaccess-system --set "$set" >/dev/null 2>&1; then
            fail "these values are taken: $set"
        fi
    done
    if helm template agentaccess "$chart" -n kube-system >/dev/null 2>&1; then fail 'the chart goes into kube-system'; fi
}

server() {
    local apply=(kubectl apply --server-side --force-conflicts) values namespace
    # The kind of the one custom resource must be there, or nothing can be asked about it.
    "${apply[@]}" --filename "$chart/crds" >/dev/null
    kubectl wait --for=condition=Established --timeout=30s --filename "$chart/crds" >/dev/null
    for values in "$chart"/ci/*-values.yaml; do
        say "chart, asking the API server: ${values##*/}"
        for namespace in $(render helm 1.37.0 "$values" | sed -n 's/^  namespace: "\?\([a-z0-9-]*\)"\?$/\1/p' | sort -u); do
            kubectl create namespace "$namespace" --dry-run=client -o yaml | "${apply[@]}" --filename - >/dev/null
        done
        render helm 1.37.0 "$values" | awk 'BEGIN { RS = "---\n"; ORS = RS } !/\nkind: (ServiceMonitor|PodMonitor|PrometheusRule)\n/' \
            | "${apply[@]}" --dry-run=server --filename - >/dev/null
    done
}

case ${1:-} in
    lint) lint ;;
    server) server ;;
    render)
        helm template agentaccess "$chart" --namespace agentaccess-system --include-crds --no-hooks "${@:2}"
        ;;
    *) fail 'usage: chart.sh lint | server | render [HELM ARGUMENTS]' ;;
esac
