//! A Compose file as values: only what the example uses, and anything else in it fails the test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_yaml::Value;

/// The file, parsed.
#[derive(Clone, Debug)]
pub(super) struct Compose(Value);

/// One service of it.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    value: Value,
}

/// One line of `volumes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// `./file` of the host, or the name of a volume.
    pub(super) source: String,
    pub(super) target: String,
    pub(super) read_only: bool,
}

// === impl Compose ===

impl Compose {
    pub(super) fn read(file: &Path) -> Self {
        Self(serde_yaml::from_str(&fs::read_to_string(file).unwrap()).unwrap())
    }

    pub(super) fn service(&self, name: &str) -> Service {
        let value = self.0["services"][name].clone();
        assert!(value.is_mapping(), "there is no service `{name}`");
        Service { name: name.to_owned(), value }
    }

    pub(super) fn services(&self) -> Vec<Service> {
        keys(&self.0["services"]).iter().map(|name| self.service(name)).collect()
    }

    /// The networks that do not lead out.
    pub(super) fn internal_networks(&self) -> Vec<String> {
        let networks = &self.0["networks"];
        keys(networks).into_iter().filter(|name| networks[name.as_str()]["internal"].as_bool() == Some(true)).collect()
    }

    pub(super) fn volumes(&self) -> Vec<String> {
        keys(&self.0["volumes"])
    }
}

// === impl Service ===

impl Service {
    pub(super) fn get(&self, key: &str) -> &Value {
        &self.value[key]
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.value[key].as_str().unwrap_or_else(|| panic!("{}: no `{key}`", self.name))
    }

    /// A list of strings; empty when it is not there.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        strings(&self.value[key])
    }

    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let names = keys(&self.value["environment"]);
        names.into_iter().map(|name| (name.clone(), scalar(&self.value["environment"][name.as_str()]))).collect()
    }

    /// Without the word in front that says how it is run.
    pub(super) fn health_check(&self) -> Vec<String> {
        let mut words = strings(&self.value["healthcheck"]["test"]);
        assert_eq!(words.remove(0), "CMD", "{}: a health check needs no shell", self.name);
        words
    }

    /// The names of its networks, whether listed or with aliases.
    pub(super) fn networks(&self) -> Vec<String> {
        let value = &self.value["networks"];
        if value.is_mapping() { keys(value) } else { strings(value) }
    }

    pub(super) fn user(&self) -> (u32, u32) {
        ids(self.text("user"))
    }

    pub(super) fn mounts(&self) -> Vec<Mount> {
        let mounts = self.list("volumes");
        mounts
            .iter()
            .map(|line| {
                let parts: Vec<&str> = line.split(':').collect();
                let read_only = match parts.get(2) {
                    None => false,
                    Some(&"ro") => true,
                    Some(other) => panic!("{}: `{line}`: what is `{other}`?", self.name),
                };
                Mount { source: parts[0].to_owned(), target: parts[1].to_owned(), read_only }
            })
            .collect()
    }
}

/// `uid:gid`.
pub(super) fn ids(text: &str) -> (u32, u32) {
    let (uid, gid) = text.split_once(':').unwrap();
    (uid.parse().unwrap(), gid.parse().unwrap())
}

fn keys(value: &Value) -> Vec<String> {
    value.as_mapping().map(|m| m.keys().map(scalar).collect()).unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_sequence().map(|list| list.iter().map(scalar).collect()).unwrap_or_default()
}

fn scalar(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is not in quotes")).to_owned()
}
