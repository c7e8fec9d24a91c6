//! Detectors, which look alike in both kinds of policy.

use crds::limits;
use crds::policy::Detector;

use crate::compile::check;
use crate::compile::report::Report;
use crate::verdict::RuleId;
use crate::view::DetectorRule;

pub(super) fn compile(
    policy: &str,
    cluster: bool,
    path: &str,
    specs: &[Detector],
    report: &mut Report,
) -> Vec<DetectorRule> {
    check::at_most(report, path, specs, limits::DETECTORS);
    check::distinct_names(report, path, specs.iter().map(|detector| detector.name.as_str()));
    let mut detectors = Vec::new();
    for (at, detector) in specs.iter().enumerate() {
        let path = format!("{path}[{at}]");
        check::label(report, &format!("{path}.name"), &detector.name);
        let find_at = format!("{path}.find");
        check::not_empty(report, &find_at, &detector.find, "kind of value, for example `CardNumber`");
        let words: Vec<String> = detector.find.iter().map(|kind| format!("{kind:?}")).collect();
        check::distinct(report, &find_at, words.iter().map(String::as_str));
        detectors.push(DetectorRule {
            id: RuleId { policy: policy.to_owned(), rule: detector.name.clone(), cluster },
            find: detector.find.iter().copied().collect(),
            action: detector.action,
        });
    }
    detectors
}
