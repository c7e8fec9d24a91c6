//! Who asks: what a pod's certificate and the live pod say, never what its sidecar writes into a question.

use control::PodName;
use crds::approval::JobRef;

#[derive(Clone, Debug)]
pub struct Asker {
    /// Of the certificate.
    pub pod: PodName,
    pub pod_name: String,
    pub service_account: String,
    /// That the pod belongs to, if it belongs to one.
    pub job: Option<JobRef>,
}
