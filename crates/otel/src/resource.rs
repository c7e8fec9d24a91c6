//! Which program tells it: the same for every record of a process.

use crate::span::Attributes;

/// Names are those of the semantic conventions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub service: &'static str,
    pub version: &'static str,
    pub namespace: Option<String>,
    pub pod: Option<String>,
    pub pod_uid: Option<String>,
    pub container: Option<&'static str>,
}

impl Resource {
    pub(crate) fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.word("service.name", self.service);
        attributes.word("service.version", self.version);
        attributes.maybe("k8s.namespace.name", self.namespace.as_deref());
        attributes.maybe("k8s.pod.name", self.pod.as_deref());
        attributes.maybe("k8s.pod.uid", self.pod_uid.as_deref());
        attributes.maybe("k8s.container.name", self.container);
        attributes
    }
}
