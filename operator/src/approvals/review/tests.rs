//! Votes as the API server sends them, and what becomes of them.

use super::super::request::tests as requests;
use super::super::stamp::tests::key;
use super::rules::POD_UID;
use super::*;

const POLICY: &str = "AgentAccessPolicy/support";
const OTHER: &str = "ClusterAgentAccessPolicy/prod";
const NOW: &str = "2027-01-15T08:00:00Z";

fn object(policies: &[&str]) -> Value {
    let mut object = serde_json::to_value(requests::object(policies)).unwrap();
    // What a vote leaves as it is.
    object["metadata"]["annotations"] = json!({"agentaccess.dev/how-to-decide": "kubectl"});
    object
}

fn annotated(object: &Value, annotations: Value) -> Value {
    let mut object = object.clone();
    for (key, text) in annotations.as_object().unwrap() {
        object["metadata"]["annotations"][key] = text.clone();
    }
    object
}

fn user(name: &str) -> Value {
    json!({
        "username": name, "uid": format!("uid-of-{name}"), "groups": ["system:authenticated"],
        "extra": {CREDENTIAL: ["X509SHA256=0f"]},
    })
}

fn review(operation: &str, old: &Value, object: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "agentaccess.dev", "version": "v1alpha1", "kind": "ApprovalRequest"},
            "resource": {"group": "agentaccess.dev", "version": "v1alpha1", "resource": "approvalrequests"},
            "name": "areq-0a1b2c3d", "namespace": "agents", "operation": operation, "userInfo": user,
            "object": object, "oldObject": old, "dryRun": false,
            "options": {"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

fn step(review: &Value) -> Step {
    begin(&serde_json::to_vec(review).unwrap(), Some(&key(1)), NOW.parse().unwrap()).unwrap()
}

/// Ends the review with a right to approve on these places.
fn sent(review: &Value, allowed: &[usize]) -> Answer {
    match step(review) {
        Step::Done(answer) => *answer,
        Step::Ask(vote) => vote.conclude(Ok(allowed.iter().copied().collect())),
    }
}

fn vote(old: &Value, who: &Value, annotations: Value, allowed: &[usize]) -> Answer {
    sent(&review("UPDATE", old, &annotated(old, annotations), who), allowed)
}

fn message(answer: &Answer) -> &str {
    assert_eq!(answer.outcome, Outcome::Refused, "{:?}", answer.message);
    let response = answer.review.response.as_ref().unwrap();
    assert!(!response.allowed && response.patch.is_none() && response.result.code == 403);
    answer.message.as_deref().unwrap()
}

/// The object as the API server stores it after this answer, and what the voter was told.
fn stored(sent: &Value, answer: &Answer) -> (Value, Vec<String>) {
    let response = answer.review.response.as_ref().unwrap();
    assert!(response.allowed, "{:?}", answer.message);
    let mut object = sent.clone();
    if let Some(patch) = &response.patch {
        let patch: json_patch::Patch = serde_json::from_slice(patch).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    (object, response.warnings.clone().unwrap_or_default())
}

fn cast_by(old: &Value, name: &str, word: &str, allowed: &[usize]) -> (Value, Vec<String>) {
    let with = annotated(old, json!({DECISION_ANNOTATION: word}));
    stored(&with, &sent(&review("UPDATE", old, &with, &user(name)), allowed))
}

fn votes(object: &Value) -> Vec<Record> {
    let request = Request::read(&serde_json::from_value(object.clone()).unwrap()).unwrap();
    let ballot = Ballot::read(&request, &key(1));
    assert_eq!(ballot.ignored, 0);
    ballot.votes
}

#[test]
fn a_vote_becomes_a_record_that_counts() {
    let old = object(&[POLICY, OTHER]);
    let with = annotated(&old, json!({DECISION_ANNOTATION: "approve", REASON_ANNOTATION: " INC-123 "}));
    let answer = sent(&review("UPDATE", &old, &with, &user("alice")), &[0]);
    assert_eq!(answer.outcome, Outcome::Recorded);
    let (after, warnings) = stored(&with, &answer);
    // The policy that she may not approve for has none yet.
    assert_eq!(warnings, ["recorded: approve by alice (0 of 2 needed)"]);
    let keys: Vec<&String> = after["metadata"]["annotations"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["agentaccess.dev/decision.1", "agentaccess.dev/how-to-decide"]);
    let record = votes(&after).remove(0);
    assert_eq!(
        (record.user.as_str(), record.uid.as_str(), record.reason.as_str()),
        ("alice", "uid-of-alice", "INC-123")
    );
    assert_eq!((record.policies, record.time.as_str()), (vec![POLICY.to_owned()], "2027-01-15T08:00:00.000Z"));
    assert_eq!(record.credential, sha256(b"X509SHA256=0f"));

    let (after, warnings) = cast_by(&after, "bob", "approve", &[0, 1]);
    assert_eq!(warnings, ["recorded: approve by bob (1 of 2 needed)"]);
    assert!(after["metadata"]["annotations"]["agentaccess.dev/decision.2"].is_string());
    let (after, warnings) = cast_by(&after, "carol", "deny", &[1]);
    assert_eq!((warnings, votes(&after).len()), (vec!["recorded: deny by carol".to_owned()], 3));
}

#[test]
fn one_person_counts_once() {
    let (once, _) = cast_by(&object(&[POLICY, OTHER]), "alice", "approve", &[0]);
    let (twice, warnings) = cast_by(&once, "alice", "approve", &[0]);
    assert_eq!(
        (&twice, warnings),
        (&once, vec!["recorded already: approve by alice; each person counts once".to_owned()])
    );
    // For more policies than before.
    let (more, _) = cast_by(&once, "alice", "approve", &[0, 1]);
    assert_eq!(votes(&more).len(), 2);
    // She may still come to deny, and that stays.
    let mut two = object(&[POLICY]);
    two["spec"]["denyThreshold"] = json!(2);
    let (once, _) = cast_by(&two, "alice", "approve", &[0]);
    let (denied, _) = cast_by(&once, "alice", "deny", &[0]);
    assert_eq!(votes(&denied).len(), 2);
    let (again, warnings) = cast_by(&denied, "alice", "deny", &[0]);
    assert_eq!((&again, warnings.len()), (&denied, 1));
    let back = vote(&denied, &user("alice"), json!({DECISION_ANNOTATION: "approve"}), &[0]);
    assert!(message(&back).contains("a denial stays"));
}

#[test]
fn the_first_free_number_is_taken() {
    // A record that is not ours and was written while the webhook was away.
    let old =
        annotated(&object(&[POLICY]), json!({format!("{RECORD_PREFIX}1"): "x", format!("{RECORD_PREFIX}999"): "y"}));
    let (after, _) = cast_by(&old, "alice", "approve", &[0]);
    assert!(after["metadata"]["annotations"][format!("{RECORD_PREFIX}2")].as_str().unwrap().contains("alice"));
}

#[test]
fn who_may_not_decide_is_told() {
    let old = object(&[POLICY, OTHER]);
    let approve = json!({DECISION_ANNOTATION: "approve"});
    let as_user = |who: &Value| vote(&old, who, approve.clone(), &[0, 1]);
    for (name, said) in [
        ("system:serviceaccount:agents:agent", "who asks cannot decide"),
        ("system:serviceaccount:agents:other", "no ServiceAccount does"),
        ("system:anonymous", "must be known"),
        ("", "must be known"),
        ("a\nb", "cannot be shown"),
        ("a\u{202e}b", "cannot be shown"),
        (&"a".repeat(257), "too long"),
    ] {
        let answer = as_user(&user(name));
        assert!(message(&answer).contains(said), "{name}: {:?}", answer.message);
    }
    let mut other_name = user("alice");
    other_name["extra"][POD_UID] = json!(["p-1"]);
    assert!(message(&as_user(&other_name)).contains("who asks cannot decide"));
    let mut grouped = user("alice");
    grouped["groups"] = json!(["system:serviceaccounts"]);
    assert!(message(&as_user(&grouped)).contains("no ServiceAccount does"));

    let none = vote(&old, &user("alice"), approve.clone(), &[]);
    let said = "alice may not decide: it takes the verb `approve` on AgentAccessPolicy/support or ClusterAgentAccessPolicy/prod";
    assert_eq!(message(&none), said);
    let Step::Ask(unknown) = step(&review("UPDATE", &old, &annotated(&old, approve), &user("alice"))) else { panic!() };
    assert!(message(&unknown.conclude(Err("timed out".to_owned()))).contains("try again: timed out"));
}

#[test]
fn what_is_no_vote_is_told() {
    let mut old = object(&[POLICY]);
    let refused = |old: &Value, annotations: Value, said: &str| {
        let answer = vote(old, &user("alice"), annotations.clone(), &[0]);
        assert!(message(&answer).contains(said), "{annotations}: {:?}", answer.message);
    };
    for word in ["", "Approve", "yes", "Revoke", "break glass", "approve ", "approve\u{1b}[2J"] {
        refused(&old, json!({DECISION_ANNOTATION: word}), "write approve, deny, revoke or break-glass");
    }
    refused(&old, json!({REASON_ANNOTATION: "x"}), "together with the decision");
    refused(&old, json!({GRANT_ANNOTATION: "1m"}), "together with the decision");
    for reason in ["a\nb", "\u{1b}[2J", "a\u{202e}b", &"a".repeat(257)] {
        refused(&old, json!({DECISION_ANNOTATION: "approve", REASON_ANNOTATION: reason}), "must be one line");
    }
    old["spec"]["reason"] = json!("Required");
    for annotations in [json!({}), json!({REASON_ANNOTATION: " "})] {
        let annotations = annotated(&json!({"metadata": {"annotations": {DECISION_ANNOTATION: "deny"}}}), annotations);
        refused(&old, annotations["metadata"]["annotations"].clone(), "a reason is required");
    }
}

fn granting(scope: &str, policies: &[&str], required: i32) -> Value {
    let mut object = serde_json::to_value(requests::granting(policies, scope)).unwrap();
    object["spec"]["requiredApprovals"] = json!(required);
    object
}

#[test]
fn who_approves_may_shorten_and_never_lengthen() {
    let old = granting("Task", &[POLICY], 1);
    let approve = |old: &Value, word: &str, grant: &str| {
        let words = json!({DECISION_ANNOTATION: word, GRANT_ANNOTATION: grant, REASON_ANNOTATION: "INC-1"});
        (annotated(old, words.clone()), vote(old, &user("alice"), words, &[0]))
    };
    let (with, answer) = approve(&old, "approve", " 30m ");
    let (after, warnings) = stored(&with, &answer);
    assert_eq!(warnings, ["recorded: approve by alice (1 of 1 needed); it counts until 2027-01-15T08:30:00.000Z"]);
    assert_eq!(votes(&after)[0].grant, "30m");
    assert!(after["metadata"]["annotations"].get(GRANT_ANNOTATION).is_none(), "{after}");

    for (grant, said) in [
        ("2h", "`2h` is longer than this can be granted; give at most 1h"),
        ("", "is not a length of time"),
        ("half an hour", "is not a length of time"),
        ("0m", "write at least `1s`"),
        ("-1m", "is not a length of time"),
    ] {
        let (_, answer) = approve(&old, "approve", grant);
        assert!(message(&answer).contains(said), "{grant}: {:?}", answer.message);
        assert!(message(&answer).starts_with(GRANT_ANNOTATION), "{:?}", answer.message);
    }
    let (_, answer) = approve(&old, "deny", "1m");
    assert!(message(&answer).contains("grants nothing beyond one use"), "{:?}", answer.message);
    let (_, answer) = approve(&granting("Once", &[POLICY], 1), "approve", "1m");
    assert!(message(&answer).contains("grants nothing beyond one use"), "{:?}", answer.message);
    let (_, answer) = approve(&old, "break-glass", "31m");
    assert!(message(&answer).contains("give at most 30m"), "{:?}", answer.message);
}

#[test]
fn what_is_approved_can_be_revoked() {
    for scope in ["Once", "Duration"] {
        let old = granting(scope, &[POLICY, OTHER], 1);
        let revoke = json!({DECISION_ANNOTATION: "revoke"});
        let early = vote(&old, &user("bob"), revoke.clone(), &[0]);
        assert!(message(&early).contains("nothing to revoke on areq-0a1b2c3d: nobody has approved it; deny it"));
        let (approved, _) = cast_by(&old, "alice", "approve", &[0, 1]);
        let denied = vote(&approved, &user("bob"), json!({DECISION_ANNOTATION: "deny"}), &[0]);
        assert!(message(&denied).contains("it is approved; revoke it instead"));
        // Who approves for one of the policies ends it, and who asks does not.
        assert!(message(&vote(&approved, &user("eve"), revoke.clone(), &[])).contains("verb `approve`"));
        let own = user("system:serviceaccount:agents:agent");
        assert!(message(&vote(&approved, &own, revoke.clone(), &[0])).contains("who asks cannot decide"));
        let (revoked, warnings) = cast_by(&approved, "bob", "revoke", &[1]);
        assert_eq!(warnings, ["recorded: revoke by bob"]);
        assert_eq!(votes(&revoked).last().unwrap().decision, Word::Revoke);
        let again = vote(&revoked, &user("bob"), revoke, &[0]);
        assert!(message(&again).contains("it is revoked"));
    }
}

#[test]
fn to_break_the_glass_takes_a_right_of_its_own_and_a_reason() {
    let old = granting("Once", &[POLICY, OTHER], 5);
    let words = json!({DECISION_ANNOTATION: "break-glass", REASON_ANNOTATION: "INC-7"});
    let with = annotated(&old, words.clone());
    let Step::Ask(asked) = step(&review("UPDATE", &old, &with, &user("carol"))) else { panic!() };
    assert_eq!(asked.verb(), "breakglass");
    for word in ["approve", "deny"] {
        let with = annotated(&old, json!({DECISION_ANNOTATION: word}));
        let Step::Ask(asked) = step(&review("UPDATE", &old, &with, &user("carol"))) else { panic!() };
        assert_eq!(asked.verb(), "approve");
    }
    let (after, warnings) = stored(&with, &vote(&old, &user("carol"), words.clone(), &[0, 1]));
    assert_eq!(warnings, ["recorded: break-glass by carol; it counts until 2027-01-15T08:30:00.000Z"]);
    let record = votes(&after).remove(0);
    assert_eq!((record.decision, record.reason.as_str()), (Word::BreakGlass, "INC-7"));

    for allowed in [&[][..], &[0], &[1]] {
        let answer = vote(&old, &user("carol"), words.clone(), allowed);
        let said = "verb `breakglass` on AgentAccessPolicy/support and ClusterAgentAccessPolicy/prod";
        assert!(message(&answer).ends_with(said), "{allowed:?}: {:?}", answer.message);
    }
    for reason in [json!({}), json!({REASON_ANNOTATION: "  "})] {
        let mut words = json!({DECISION_ANNOTATION: "break-glass"});
        words.as_object_mut().unwrap().extend(reason.as_object().unwrap().clone());
        let answer = vote(&old, &user("carol"), words, &[0, 1]);
        assert!(message(&answer).contains("who breaks the glass says why"), "{:?}", answer.message);
    }
    for name in ["system:serviceaccount:agents:agent", "system:serviceaccount:ops:robot"] {
        message(&vote(&old, &user(name), words.clone(), &[0, 1]));
    }
    // Who denied stays with it.
    let mut two = old.clone();
    two["spec"]["denyThreshold"] = json!(2);
    let (denied, _) = cast_by(&two, "carol", "deny", &[0]);
    assert!(message(&vote(&denied, &user("carol"), words, &[0, 1])).contains("a denial stays"));
}

#[test]
fn what_is_not_pending_is_closed() {
    let approve = json!({DECISION_ANNOTATION: "approve"});
    let closed = |old: &Value, said: &str| {
        let answer = vote(old, &user("zoe"), approve.clone(), &[0]);
        assert!(message(&answer).ends_with(&format!("areq-0a1b2c3d any more: {said}")), "{:?}", answer.message);
    };
    let one = |word: &str| {
        let mut old = object(&[POLICY]);
        old["spec"]["requiredApprovals"] = json!(1);
        cast_by(&old, "alice", word, &[0]).0
    };
    closed(&one("approve"), "it is approved");
    closed(&one("deny"), "it is denied");
    let mut late = object(&[POLICY]);
    late["spec"]["expiresAt"] = json!(NOW);
    closed(&late, "it has expired");
    let mut used = one("approve");
    used["status"] = json!({"phase": "Approved", "approvals": 1, "consumed": true});
    closed(&used, "it was approved and used");
    let mut given_up = object(&[POLICY]);
    given_up["status"] = json!({"phase": "Withdrawn"});
    closed(&given_up, "the agent has given it up");
}

#[test]
fn records_are_ours_alone() {
    let (old, _) = cast_by(&object(&[POLICY]), "alice", "approve", &[0]);
    let first = format!("{RECORD_PREFIX}1");
    let text = old["metadata"]["annotations"][&first].clone();
    let changed = |object: Value| {
        let answer = sent(&review("UPDATE", &old, &object, &user("alice")), &[0]);
        assert!(message(&answer).contains("records are written by agentaccess only"), "{:?}", answer.message);
    };
    changed(annotated(&old, json!({format!("{RECORD_PREFIX}2"): text.clone()})));
    changed(annotated(&old, json!({format!("{RECORD_PREFIX}x"): ""})));
    changed(annotated(&old, json!({first.as_str(): text.as_str().unwrap().replace("approve", "deny")})));
    // Also beside a vote.
    changed(annotated(&old, json!({format!("{RECORD_PREFIX}2"): text, DECISION_ANNOTATION: "approve"})));
    for gone in ["annotations", "metadata"] {
        let mut removed = old.clone();
        match gone {
            "annotations" => removed["metadata"]["annotations"] = json!(null),
            _ => removed["metadata"]["annotations"].as_object_mut().unwrap().remove(&first).map(drop).unwrap(),
        }
        changed(removed);
    }

    for key in [DECISION_ANNOTATION, first.as_str(), REASON_ANNOTATION, GRANT_ANNOTATION] {
        let made = annotated(&object(&[POLICY]), json!({key: "approve"}));
        assert!(
            message(&sent(&review("CREATE", &json!(null), &made, &user("operator")), &[0]))
                .contains("holds no decision")
        );
    }
    let made = sent(&review("CREATE", &json!(null), &object(&[POLICY]), &user("operator")), &[]);
    assert_eq!(made.outcome, Outcome::Passed);
    // Labels and such are for the second wall.
    let same = sent(&review("UPDATE", &old, &annotated(&old, json!({"note": "x"})), &user("alice")), &[]);
    assert_eq!(same.outcome, Outcome::Passed);
}

#[test]
fn nothing_is_signed_without_a_key_or_for_what_cannot_be_read() {
    let old = object(&[POLICY]);
    let with = annotated(&old, json!({DECISION_ANNOTATION: "approve"}));
    let body = serde_json::to_vec(&review("UPDATE", &old, &with, &user("alice"))).unwrap();
    let Step::Done(answer) = begin(&body, None, NOW.parse().unwrap()).unwrap() else { panic!() };
    assert!(message(&answer).contains("no key"));
    for broken in [json!(null), json!({}), annotated(&old, json!({"x": 1}))] {
        let answer = sent(&review("UPDATE", &broken, &with, &user("alice")), &[0]);
        message(&answer);
    }
    let mut unknown = old.clone();
    unknown["spec"]["more"] = json!(true);
    assert!(message(&sent(&review("UPDATE", &unknown, &with, &user("alice")), &[0])).contains("cannot be read"));
}

#[test]
fn nothing_else_is_judged() {
    let old = object(&[POLICY]);
    for (field, value) in [
        ("operation", json!("DELETE")),
        ("operation", json!("CONNECT")),
        ("subResource", json!("status")),
        ("resource", json!({"group": "", "version": "v1", "resource": "pods"})),
    ] {
        let mut review = review("UPDATE", &old, &old, &user("alice"));
        review["request"][field] = value;
        let answer = sent(&review, &[0]);
        assert_eq!(answer.outcome, Outcome::Misused);
        assert!(!answer.review.response.unwrap().allowed);
    }
    for body in [&b""[..], b"{}", b"[]", b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}"] {
        begin(body, Some(&key(1)), NOW.parse().unwrap()).unwrap_err();
    }
}
