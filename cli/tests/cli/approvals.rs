//! Approvals against a sidecar that is played by the test, and without one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use crds::approval::{ApprovalRequest, Decision, Phase};
use crds::local::{LocalAnswer, LocalCall};

use crate::common::run;

const REQUEST: &str = r#"
apiVersion: agentaccess.dev/v1alpha1
kind: ApprovalRequest
metadata: {name: areq-abc234, namespace: local, creationTimestamp: "2026-11-21T08:48:51Z"}
spec:
  subject: {namespace: local, serviceAccount: support-agent}
  target: {name: orders-db, host: localhost, port: 5999}
  protocol: Postgres
  action: {verb: UPDATE, resources: [Relation public.orders (status)]}
  summary: update orders set status = $1
  statement: "update orders␊set status = $1\nPhase: Denied ⟪$1 = 'paid\e[2J'⟫"
  digest: hmac-sha256:c31062fd4633af934566aa19a2ad6a21c0dd10e362ba5f63dfab889a2714f09e
  policyRefs:
    - {kind: AgentAccessPolicy, name: support-agent, rule: fixes, revision: "sha256:173d4bc5f84d7a32160937a1b74090bd5375337080725dec34352216be4a639d"}
  requiredApprovals: 2
  denyThreshold: 1
  reason: Required
  scope: Once
  expiresAt: "2026-11-21T09:03:51Z"
status: {phase: Pending, approvals: 0, consumed: false}
"#;

fn request() -> ApprovalRequest {
    serde_yaml::from_str(REQUEST).unwrap()
}

/// Answers one call on `approve.sock` and gives it back.
fn sidecar(state: &Path, answers: Vec<LocalAnswer>) -> JoinHandle<LocalCall> {
    let listener = UnixListener::bind(state.join("approve.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut call = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut call).unwrap();
        for answer in answers {
            stream.write_all(format!("{}\n", serde_json::to_string(&answer).unwrap()).as_bytes()).unwrap();
        }
        serde_json::from_str(&call).unwrap()
    })
}

#[test]
fn a_vote_is_asked_for_and_its_answer_told() {
    for (word, expected) in [("approve", Decision::Approve), ("deny", Decision::Deny), ("revoke", Decision::Revoke)] {
        let state = tempfile::tempdir().unwrap();
        let message = "recorded: 1 of 2".to_owned();
        let asked = sidecar(state.path(), vec![LocalAnswer::Decided { item: Box::new(request()), message }]);
        let path = state.path().display().to_string();
        let ran = run(&[word, "areq-abc234", "--reason", "INC-1", "--state-dir", &path]);
        assert_eq!((ran.status, ran.out.as_str()), (0, "areq-abc234: recorded: 1 of 2\n"), "{}", ran.err);
        match asked.join().unwrap() {
            LocalCall::Decide { name, decision, reason } => {
                assert_eq!((name.as_str(), decision, reason.as_deref()), ("areq-abc234", expected, Some("INC-1")));
            }
            other => panic!("{other:?}"),
        }
    }
    let state = tempfile::tempdir().unwrap();
    let _asked =
        sidecar(state.path(), vec![LocalAnswer::Refused { message: "uid 0 is not\u{1b}[1m an approver".into() }]);
    let ran = run(&["approve", "areq-abc234", "--state-dir", &state.path().display().to_string()]);
    assert_eq!((ran.status, ran.err.as_str()), (1, "error: areq-abc234: uid 0 is not\\u{1b}[1m an approver\n"));
}

#[test]
fn requests_are_listed_and_shown_whole() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().display().to_string();
    let _asked = sidecar(state.path(), vec![LocalAnswer::Requests { items: vec![request()] }]);
    let ran = run(&["approvals", "ls", "--state-dir", &path]);
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|l| l.split_whitespace().collect()).collect();
    let headings = ["NAME", "AGENT", "TARGET", "ACTION", "NEEDS", "HAVE", "PHASE", "EXPIRES", "AGE"];
    assert_eq!(lines[0], headings);
    let row = ["areq-abc234", "support-agent", "orders-db:5999", "UPDATE", "orders", "2", "0", "Pending"];
    assert_eq!(lines[1][..8], row);

    std::fs::remove_file(state.path().join("approve.sock")).unwrap();
    let _asked = sidecar(state.path(), vec![LocalAnswer::Requests { items: vec![request()] }]);
    let ran = run(&["approvals", "show", "areq-abc234", "--state-dir", &path]);
    for expected in [
        "areq-abc234  Pending\n",
        "  asked by  AgentAccessPolicy support-agent, rule fixes\n",
        "  needs     2 approvals, each with a reason, has 0; 1 denial ends it\n",
        "  digest    hmac-sha256:c31062fd",
        "    update orders␊set status = $1\\nPhase: Denied ⟪$1 = 'paid\\u{1b}[2J'⟫\n",
        "  to approve: agentaccess approve areq-abc234 --reason '...'\n",
    ] {
        assert!(ran.out.contains(expected), "{expected:?} is not in\n{}{}", ran.out, ran.err);
    }
}

#[test]
fn changes_are_watched() {
    let state = tempfile::tempdir().unwrap();
    let mut approved = request();
    approved.status.as_mut().unwrap().phase = Phase::Approved;
    let answers =
        vec![LocalAnswer::Requests { items: vec![request()] }, LocalAnswer::Request { item: Box::new(approved) }];
    let asked = sidecar(state.path(), answers);
    let ran = run(&["approvals", "watch", "--state-dir", &state.path().display().to_string()]);
    assert!(matches!(asked.join().unwrap(), LocalCall::Watch));
    assert!(ran.out.contains("areq-abc234  Pending") && ran.out.contains("areq-abc234  Approved"), "{}", ran.out);
    assert!(ran.status == 1 && ran.err.contains("hung up"), "{}", ran.err);
}

#[test]
fn without_a_sidecar_its_files_are_shown_and_nothing_is_decided() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().display().to_string();
    std::fs::create_dir(state.path().join("requests")).unwrap();
    std::fs::write(state.path().join("requests/areq-abc234.yaml"), REQUEST).unwrap();
    let ran = run(&["approvals", "ls", "--state-dir", &path]);
    assert!(ran.status == 0 && ran.out.contains("areq-abc234"), "{}", ran.err);
    assert!(ran.err.contains("no sidecar answers") && ran.err.contains("may be old"), "{}", ran.err);
    let ran = run(&["approve", "areq-abc234", "--state-dir", &path]);
    assert!(ran.status == 1 && ran.err.contains("no sidecar answers") && ran.err.contains("start it"), "{}", ran.err);
    let ran = run(&["approvals", "show", "areq-nope22", "--state-dir", &path]);
    assert!(ran.status == 1 && ran.err.contains("there is no request `areq-nope22`"), "{}", ran.err);
}
