//! `AccessTarget`: checks only; the content is taken as it is.

use crds::limits;
use crds::shared::Protocol;
use crds::target::{AccessTargetSpec, PostgresTarget, TlsMode};

use crate::compile::report::{Report, shown};
use crate::compile::{Named, check};

pub(super) fn check(object: &Named<AccessTargetSpec>, report: &mut Report) {
    check::name(report, "metadata.name", &object.name);
    check::label(report, "metadata.namespace", &object.namespace);
    let spec = &object.spec;
    check::host(report, "spec.host", &spec.host);
    if !(1..=65_535).contains(&spec.port) {
        report.error("spec.port", &format!("{} is not a port: give 1 to 65535", spec.port));
    }
    if let Some(ca) = &spec.tls.ca_secret_ref {
        if spec.tls.mode == TlsMode::Disabled {
            report.error("spec.tls.caSecretRef", "has no meaning when mode is Disabled: remove one of them");
        }
        check::name(report, "spec.tls.caSecretRef.name", &ca.name);
        check::secret_key(report, "spec.tls.caSecretRef.key", &ca.key);
    }
    check::name(report, "spec.credentialRef.name", &spec.credential_ref.name);
    check::secret_key(report, "spec.credentialRef.usernameKey", &spec.credential_ref.username_key);
    check::secret_key(report, "spec.credentialRef.passwordKey", &spec.credential_ref.password_key);
    match (spec.protocol, &spec.postgres) {
        (Protocol::Postgres, Some(postgres)) => check_postgres(postgres, report),
        (Protocol::Postgres, None) => {
            report.error("spec.postgres", "is missing: protocol Postgres needs it, with the databases that are meant");
        }
    }
}

fn check_postgres(postgres: &PostgresTarget, report: &mut Report) {
    let path = "spec.postgres.databases";
    check::not_empty(report, path, &postgres.databases, "database");
    check::at_most(report, path, &postgres.databases, limits::DATABASES);
    check::distinct(report, path, postgres.databases.iter().map(String::as_str));
    for (at, database) in postgres.databases.iter().enumerate() {
        check::identifier(report, &format!("{path}[{at}]"), database);
    }
    let path = "spec.postgres.searchPath";
    check::not_empty(report, path, &postgres.search_path, "schema");
    check::at_most(report, path, &postgres.search_path, limits::DATABASES);
    for (at, schema) in postgres.search_path.iter().enumerate() {
        let path = format!("{path}[{at}]");
        check::identifier(report, &path, schema);
        if ["pg_temp", "pg_toast", "$"].iter().any(|p| schema.starts_with(p)) {
            report.error(&path, &format!("`{}` is not one fixed schema: name schemas only", shown(schema)));
        }
    }
}
