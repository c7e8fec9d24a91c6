//! The YAML files that every test of the sidecar needs: Secrets and an AccessTarget. Policies are the tests' own words.

use crate::postgres::{DATABASE, Server};

/// The namespace of all objects.
pub const NAMESPACE: &str = "local";

/// A Secret with these keys.
pub fn secret(name: &str, values: &[(&str, &str)]) -> String {
    let values: serde_json::Map<_, _> =
        values.iter().map(|(key, value)| ((*key).to_owned(), serde_json::Value::from(*value))).collect();
    document(&serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": values,
    }))
}

/// An AccessTarget for this server with verify-full, and its Secrets: `NAME-login` and `NAME-ca`.
pub fn target(name: &str, server: &Server, user: &str, password: &str) -> String {
    target_at(name, "localhost", server.port(), Some(server.ca()), user, password)
}

/// The same for any host and port; without a CA the connection has no TLS.
pub fn target_at(name: &str, host: &str, port: u16, ca: Option<&str>, user: &str, password: &str) -> String {
    let (login, authority) = (format!("{name}-login"), format!("{name}-ca"));
    let tls = if ca.is_some() {
        serde_json::json!({"mode": "VerifyFull", "caSecretRef": {"name": authority, "key": "ca.crt"}})
    } else {
        serde_json::json!({"mode": "Disabled"})
    };
    let target = document(&serde_json::json!({
        "apiVersion": "agentaccess.dev/v1alpha1", "kind": "AccessTarget",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "protocol": "Postgres", "host": host, "port": port, "tls": tls,
            "credentialRef": {"name": login}, "postgres": {"databases": [DATABASE]},
        },
    }));
    let mut files = target + &secret(&login, &[("username", user), ("password", password)]);
    if let Some(ca) = ca {
        files.push_str(&secret(&authority, &[("ca.crt", ca)]));
    }
    files
}

// JSON is YAML: one object a document.
fn document(object: &serde_json::Value) -> String {
    format!("---\n{object:#}\n")
}
