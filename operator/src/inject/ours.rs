//! The three containers and six volumes that we write. What the API server would fill in is written out, so that a
//! second injection of what it stored changes nothing.

use std::collections::BTreeSet;

use crds::pod;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector,
    ProjectedVolumeSource, SeccompProfile, SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Settings;
use super::identity::Identity;

/// The shortest that Kubernetes makes.
const TOKEN_SECONDS: i64 = 600;
/// Octal 0644: the kubelet's default.
const MODE: i32 = 0o644;
/// A start may take this many seconds, policy and certificates included. `verify` waits for it: a startup probe would hold
/// `verify` up until the kubelet has looked twice, a second or two for each pod.
const START_SECONDS: u16 = 120;

pub(super) struct Ours<'a> {
    pub(super) settings: &'a Settings,
    pub(super) identity: &'a Identity,
    pub(super) inbound: &'a BTreeSet<u16>,
    pub(super) roots: &'a str,
}

// === impl Ours ===

impl Ours<'_> {
    /// In the order in which they start.
    pub(super) fn containers(&self) -> [Container; 3] {
        [self.init(), self.proxy(), self.verify()]
    }

    fn init(&self) -> Container {
        let mut args = vec!["init".to_owned(), format!("--user={}", self.identity.user)];
        args.push(format!("--own={}", pod::HEALTH_PORT));
        args.push(format!("--names={}", pod::NAMES_FOLDER));
        if !self.inbound.is_empty() {
            let ports: Vec<String> = self.inbound.iter().map(u16::to_string).collect();
            args.push(format!("--inbound={}", ports.join(",")));
        }
        let mut container = self.container(pod::INIT, args, 0);
        container.volume_mounts = Some(vec![mount(pod::NAMES_VOLUME, pod::NAMES_FOLDER, false)]);
        if let Some(context) = &mut container.security_context {
            // As another user a capability is not passed on: the kernel would want it on the file.
            context.run_as_non_root = Some(false);
            context.capabilities = Some(capabilities(&["NET_ADMIN"]));
        }
        container
    }

    fn proxy(&self) -> Container {
        let mut args = vec![
            "proxy".to_owned(),
            format!("--nonce={}", self.identity.nonce),
            format!("{}={}", pod::OPERATOR_ARGUMENT, self.settings.operator),
            format!("{}={}", pod::ROOTS_ARGUMENT, self.roots),
        ];
        args.extend(self.settings.otel.iter().cloned());
        Container {
            restart_policy: Some("Always".to_owned()),
            env: Some(vec![
                from_field(pod::ENV_NAMESPACE, "metadata.namespace"),
                from_field(pod::ENV_NAME, "metadata.name"),
                from_field(pod::ENV_UID, "metadata.uid"),
                with_value(pod::ENV_STATE_DIR, pod::STATE_DIR),
                with_value(pod::ENV_STATE_SIZE, &self.settings.state_size),
            ]),
            ports: Some(vec![ContainerPort {
                name: Some("agentaccess".to_owned()),
                container_port: i32::from(pod::HEALTH_PORT),
                protocol: Some("TCP".to_owned()),
                ..Default::default()
            }]),
            volume_mounts: Some(vec![
                mount(pod::TOKEN_VOLUME, pod::TOKEN_FOLDER, true),
                mount(pod::CA_VOLUME, pod::CA_FOLDER, false),
                mount(pod::STATE_VOLUME, pod::STATE_FOLDER, false),
                mount(pod::TRUST_VOLUME, pod::TRUST_FOLDER, false),
                mount(pod::ACCOUNT_VOLUME, pod::ACCOUNT_FOLDER, false),
                // Over those that the whole pod shares.
                file(pod::NAMES_VOLUME, "/etc/hosts", pod::NAMES_HOSTS),
                file(pod::NAMES_VOLUME, "/etc/resolv.conf", pod::NAMES_RESOLVER),
            ]),
            ..self.container(pod::PROXY, args, self.identity.user)
        }
    }

    fn verify(&self) -> Container {
        let Identity { user, nonce, verifier, .. } = self.identity;
        self.container(
            pod::VERIFY,
            vec![
                "verify".to_owned(),
                format!("--user={user}"),
                format!("--nonce={nonce}"),
                format!("--wait={START_SECONDS}"),
            ],
            *verifier,
        )
    }

    /// No rights, nothing to write to, the user and its group as given.
    fn container(&self, name: &str, args: Vec<String>, user: u32) -> Container {
        Container {
            name: name.to_owned(),
            image: Some(self.settings.image.clone()),
            image_pull_policy: Some(self.settings.image_pull_policy.clone()),
            command: Some(vec![pod::PROGRAM.to_owned()]),
            args: Some(args),
            resources: Some(self.settings.resources.clone()),
            security_context: Some(SecurityContext {
                run_as_user: Some(i64::from(user)),
                run_as_group: Some(i64::from(user)),
                run_as_non_root: Some(true),
                privileged: Some(false),
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(capabilities(&[])),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
                ..Default::default()
            }),
            termination_message_path: Some("/dev/termination-log".to_owned()),
            // The last lines of a container that failed are in the pod's status then.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Default::default()
        }
    }

    pub(super) fn volumes(&self) -> [Volume; 6] {
        let token = ServiceAccountTokenProjection {
            audience: Some(self.settings.audience.clone()),
            expiration_seconds: Some(TOKEN_SECONDS),
            path: pod::TOKEN_FILE.to_owned(),
        };
        let token = VolumeProjection { service_account_token: Some(token), ..Default::default() };
        [
            Volume {
                name: pod::TOKEN_VOLUME.to_owned(),
                projected: Some(ProjectedVolumeSource { default_mode: Some(MODE), sources: Some(vec![token]) }),
                ..Default::default()
            },
            empty(pod::CA_VOLUME, Some("Memory"), "1Mi"),
            empty(pod::STATE_VOLUME, None, &self.settings.state_size),
            empty(pod::TRUST_VOLUME, None, "4Mi"),
            empty(pod::ACCOUNT_VOLUME, None, "1Mi"),
            empty(pod::NAMES_VOLUME, None, "1Mi"),
        ]
    }
}

fn capabilities(add: &[&str]) -> Capabilities {
    let add: Vec<String> = add.iter().map(|one| (*one).to_owned()).collect();
    Capabilities { drop: Some(vec!["ALL".to_owned()]), add: (!add.is_empty()).then_some(add) }
}

fn empty(name: &str, medium: Option<&str>, size: &str) -> Volume {
    let source =
        EmptyDirVolumeSource { medium: medium.map(str::to_owned), size_limit: Some(Quantity(size.to_owned())) };
    Volume { name: name.to_owned(), empty_dir: Some(source), ..Default::default() }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    let read_only = read_only.then_some(true);
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), read_only, ..Default::default() }
}

fn file(volume: &str, path: &str, name: &str) -> VolumeMount {
    VolumeMount { sub_path: Some(name.to_owned()), ..mount(volume, path, true) }
}

fn with_value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn from_field(name: &str, field: &str) -> EnvVar {
    let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: field.to_owned() };
    let from = EnvVarSource { field_ref: Some(field), ..Default::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(from) }
}
