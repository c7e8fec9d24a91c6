//! What the operator writes into an injected pod and the sidecar finds there: names, paths and ports. They agree on
//! these words only here, since neither imports the other.

/// On a namespace: every pod that is made there is injected.
pub const INJECTION_LABEL: &str = "agentaccess.dev/injection";
pub const INJECTION_ENABLED: &str = "enabled";
/// On an injected pod.
pub const INJECTED_LABEL: &str = "agentaccess.dev/injected";
/// Holds the sidecar's user, signed by the operator for the minute in which the pod is admitted.
pub const USER_ANNOTATION: &str = "agentaccess.dev/proxy-user";

/// Containers and volumes with this prefix are ours; what others call so is removed.
pub const PREFIX: &str = "agentaccess-";
pub const INIT: &str = "agentaccess-init";
pub const PROXY: &str = "agentaccess-proxy";
pub const VERIFY: &str = "agentaccess-verify";

/// The program of the one image that all three run.
pub const PROGRAM: &str = "/agentaccess-sidecar";

/// Arguments of the proxy: where the operator is, and the CAs by which it is known, as DER in base64 joined by commas.
pub const OPERATOR_ARGUMENT: &str = "--operator";
pub const ROOTS_ARGUMENT: &str = "--roots";
/// Where traces and log lines go, if anywhere, and the CA by which that is known: PEM in base64.
pub const OTEL_ENDPOINT_ARGUMENT: &str = "--otel-endpoint";
pub const OTEL_CA_ARGUMENT: &str = "--otel-ca";
pub const OTEL_INSECURE_ARGUMENT: &str = "--otel-insecure";
/// Where the operator answers sidecars.
pub const CONTROL_PORT: u16 = 9_444;
/// Which pod the sidecar is in.
pub const ENV_NAMESPACE: &str = "AGENTACCESS_POD_NAMESPACE";
pub const ENV_NAME: &str = "AGENTACCESS_POD_NAME";
pub const ENV_UID: &str = "AGENTACCESS_POD_UID";
pub const ENV_STATE_DIR: &str = "AGENTACCESS_STATE_DIR";
/// The size limit of [`STATE_VOLUME`], over which the kubelet evicts the pod.
pub const ENV_STATE_SIZE: &str = "AGENTACCESS_STATE_SIZE";
/// Where it is not told.
pub const STATE_SIZE: &str = "1Gi";

/// First and last of the ports that only the sidecar uses.
pub const PORTS: (u16, u16) = (15_000, 15_099);
/// `/readyz`, `/healthz` and `/metrics` of the sidecar.
pub const HEALTH_PORT: u16 = 15_020;
/// Ports that may be dialled from outside: each is a rule of the fence.
pub const MOST_INBOUND: usize = 512;

/// The sidecar's identity: a token for our audience, mounted in the sidecar alone.
pub const TOKEN_VOLUME: &str = "agentaccess-token";
pub const TOKEN_FOLDER: &str = "/run/agentaccess/token";
pub const TOKEN_FILE: &str = "token";
/// The key of the pod's CA: in memory, in the sidecar alone, kept when the sidecar restarts.
pub const CA_VOLUME: &str = "agentaccess-ca";
pub const CA_FOLDER: &str = "/run/agentaccess/ca";
/// Recordings and what else the sidecar keeps, in the sidecar alone.
pub const STATE_VOLUME: &str = "agentaccess-state";
pub const STATE_FOLDER: &str = "/var/lib/agentaccess";
/// In it, and told to the CLI that reads recordings there.
pub const STATE_DIR: &str = "/var/lib/agentaccess/state";
/// The sidecar's own `/etc/hosts` and `/etc/resolv.conf`. Those of the pod are one file each for all of its containers, and
/// root in any of them may write there: who chose where names lead would choose where credentials go.
pub const NAMES_VOLUME: &str = "agentaccess-names";
pub const NAMES_FOLDER: &str = "/run/agentaccess/names";
pub const NAMES_HOSTS: &str = "hosts";
pub const NAMES_RESOLVER: &str = "resolv.conf";
/// The roots that the agent trusts: written by the sidecar, read by every other container.
pub const TRUST_VOLUME: &str = "agentaccess-trust";
pub const TRUST_FOLDER: &str = "/run/agentaccess/trust";
pub const TRUST_FILE: &str = "ca-certificates.crt";
/// What the agent finds at the place of its service account: `ca.crt`, `namespace` and a token that is worth nothing.
pub const ACCOUNT_VOLUME: &str = "agentaccess-account";
pub const ACCOUNT_FOLDER: &str = "/run/agentaccess/account";
pub const ACCOUNT_CA: &str = "ca.crt";
pub const ACCOUNT_NAMESPACE: &str = "namespace";
pub const ACCOUNT_TOKEN: &str = "token";
