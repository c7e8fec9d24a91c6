//! What is asked when an approval may grant more than one use, and what such a grant covers.

use crds::approval::JobRef;
use crds::policy::Scope;

use super::*;

fn job() -> JobRef {
    JobRef { name: "nightly".to_owned(), uid: "5b1c0d6e-0000-4000-8000-00000000000a".to_owned() }
}

fn asker() -> Asker {
    Asker { job: Some(job()), ..super::asker() }
}

/// Another pod of the same Job.
fn colleague() -> Asker {
    let pod = PodName::new("agents", "5b1c0d6e-0000-4000-8000-000000000002").unwrap();
    Asker { pod, pod_name: "agent-1".to_owned(), ..asker() }
}

fn used(path: &str, columns: &[&str]) -> v1::Use {
    v1::Use {
        verb: "Update".to_owned(),
        kind: "Relation".to_owned(),
        path: path.split('.').map(str::to_owned).collect(),
        all_columns: false,
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        bounded: true,
        indirect: false,
    }
}

fn question(scope: v1::Scope) -> Question {
    let terms = v1::Terms { scope: scope.into(), max_grant_seconds: 1800, ..super::question().terms.unwrap() };
    Question {
        terms: Some(terms),
        cover: Some(v1::Cover { database: "shop".to_owned(), uses: vec![used("public.orders", &["id", "state"])] }),
        session: "s-1".to_owned(),
        ..super::question()
    }
}

/// Policies that let it be granted for an hour.
fn sources(scope: &str) -> Sources {
    let mut sources = super::sources();
    let settings = json!({"name": "change", "scope": scope, "maxGrantDuration": "1h", "requiredApprovals": 2});
    sources.policies.get_mut("support").unwrap().approvals = vec![serde_json::from_value(settings).unwrap()];
    sources
}

fn asked(question: Question, scope: &str) -> ApprovalRequest {
    let checked = Checked::read(question, &asker()).unwrap();
    let now = "2027-01-15T08:00:00.9Z".parse().unwrap();
    checked.object(&asker(), &sources(scope), "areq-0a1b2c3d", now).unwrap()
}

#[test]
fn the_request_says_what_it_grants_to_whom_and_for_how_long() {
    let object = asked(question(v1::Scope::Task), "Task");
    let grant = object.spec.grant.as_ref().unwrap();
    assert_eq!((object.spec.scope, grant.max_duration.as_str()), (Scope::Task, "30m"));
    assert_eq!(
        grant.means,
        "not this statement alone: by every pod of Job nightly that has its ServiceAccount, at target orders, every \
         UPDATE in database `shop`: update public.orders (id, state) with a condition; with any values, the same columns \
         or fewer, for 30m from the approval at most"
    );
    assert_eq!((grant.job.as_ref(), grant.session.as_ref()), (Some(&job()), None));
    // It goes with the Job, not with the pod that asked first.
    let owner = &object.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.api_version.as_str(), owner.kind.as_str(), &owner.uid), ("batch/v1", "Job", &job().uid));
    let how = &object.metadata.annotations.as_ref().unwrap()[HOW_ANNOTATION];
    assert!(how.ends_with("(or =deny); it counts for 30m, or less with agentaccess.dev/grant=TIME"), "{how}");

    // The narrowest of what policy and sidecar say.
    let object = asked(question(v1::Scope::Task), "Session");
    let grant = object.spec.grant.as_ref().unwrap();
    assert_eq!((object.spec.scope, grant.session.as_deref(), grant.job.as_ref()), (Scope::Session, Some("s-1"), None));
    assert!(grant.means.contains("on this one connection of pod agent-0"), "{}", grant.means);
    assert_eq!(object.metadata.owner_references.unwrap()[0].kind, "Pod");
    let object = asked(question(v1::Scope::Duration), "Task");
    assert_eq!(object.spec.scope, Scope::Duration);
    assert!(object.spec.grant.unwrap().means.contains("by pod agent-0, on every connection"));
    for once in [asked(question(v1::Scope::Once), "Task"), asked(question(v1::Scope::Task), "Once")] {
        assert_eq!((once.spec.scope, once.spec.grant), (Scope::Once, None));
        // For who breaks the glass.
        assert!(once.spec.cover.is_some());
        let means = once.spec.break_glass.unwrap();
        assert!(means.contains("by pod agent-0, on every connection, at target orders, every UPDATE"), "{means}");
        assert!(means.ends_with("for 30m from the approval at most"), "{means}");
    }
    // What no sentence describes is approved once.
    let object = asked(Question { cover: None, ..question(v1::Scope::Task) }, "Task");
    assert_eq!((object.spec.scope, object.spec.grant, object.spec.cover), (Scope::Once, None, None));
    assert_eq!(object.spec.break_glass, None);
}

#[test]
fn a_grant_that_no_sidecar_asks_for_is_refused() {
    let refused = |edit: &dyn Fn(&mut Question)| {
        let mut question = question(v1::Scope::Session);
        edit(&mut question);
        let checked = Checked::read(question, &asker());
        let made = checked.and_then(|checked| {
            checked.object(&asker(), &sources("Session"), "areq-0a1b2c3d", "2027-01-15T08:00:00Z".parse().unwrap())
        });
        assert!(matches!(made, Err(Refused::Malformed(_))), "{made:?}");
    };
    fn terms(question: &mut Question) -> &mut v1::Terms {
        question.terms.as_mut().unwrap()
    }
    fn first(question: &mut Question) -> &mut v1::Use {
        &mut question.cover.as_mut().unwrap().uses[0]
    }
    refused(&|question| terms(question).max_grant_seconds = 0);
    refused(&|question| terms(question).max_grant_seconds = 86_401);
    refused(&|question| terms(question).scope = 9);
    refused(&|question| question.session = String::new());
    refused(&|question| question.session = "a\nb".to_owned());
    refused(&|question| question.cover.as_mut().unwrap().uses.clear());
    refused(&|question| question.cover.as_mut().unwrap().database = String::new());
    refused(&|question| first(question).path[1] = "a\u{202e}b".to_owned());
    refused(&|question| first(question).columns = vec!["c".to_owned(); 33]);
    refused(&|question| first(question).verb = "v".repeat(64));
}

#[test]
fn a_grant_covers_the_same_action_of_who_it_was_given_to_and_nothing_else() {
    let covered = |asker: &Asker, question: Question, scope: &str, effective: Scope| {
        let open = asked(self::question(v1::Scope::Task), scope).spec;
        Checked::read(question, asker).unwrap().is_covered(asker, &open, effective, false)
    };
    let task = |asker: &Asker, edit: &dyn Fn(&mut Question)| {
        let mut question = question(v1::Scope::Task);
        edit(&mut question);
        covered(asker, question, "Task", Scope::Task)
    };
    assert!(task(&asker(), &|_| {}));
    assert!(task(&colleague(), &|_| {}), "another pod of the Job");
    assert!(task(&asker(), &|question| question.digest = vec![1; 32]), "other values");
    assert!(task(&asker(), &|question| question.session = "s-2".to_owned()), "another connection");
    let edit =
        |edit: &dyn Fn(&mut v1::Use)| task(&asker(), &|question| edit(&mut question.cover.as_mut().unwrap().uses[0]));
    assert!(edit(&|used| used.columns.truncate(1)), "fewer columns");
    assert!(!edit(&|used| used.columns.push("email".to_owned())), "another column");
    assert!(!edit(&|used| used.all_columns = true), "all columns");
    assert!(!edit(&|used| used.bounded = false), "no condition");
    assert!(!edit(&|used| used.verb = "Delete".to_owned()), "another verb");
    assert!(!edit(&|used| used.path[1] = "people".to_owned()), "another relation");
    assert!(!task(&asker(), &|question| question.cover.as_mut().unwrap().uses.push(used("a.b", &[]))), "one more");
    assert!(
        !task(&asker(), &|question| question.cover.as_mut().unwrap().database = "x".to_owned()),
        "another database"
    );
    assert!(!task(&asker(), &|question| question.action = "MERGE".to_owned()), "another statement");
    assert!(!task(&asker(), &|question| question.target = "other".to_owned()), "another target");
    assert!(!task(&asker(), &|question| question.cover = None), "nothing that a sentence describes");
    assert!(!task(&asker(), &|question| question.revision = format!("sha256:{}", "1".repeat(64))), "another policy");
    assert!(
        !task(&asker(), &|question| question.rules.push("cluster:prod/writes".to_owned())),
        "one more policy that asks"
    );
    assert!(!task(&asker(), &|question| question.terms.as_mut().unwrap().required_approvals = 3), "a higher quorum");
    assert!(!task(&asker(), &|question| question.terms.as_mut().unwrap().reason_required = true), "a reason");
    assert!(
        !task(&asker(), &|question| question.terms.as_mut().unwrap().scope = v1::Scope::Session.into()),
        "narrower"
    );

    let stranger = Asker { job: None, ..colleague() };
    assert!(!task(&stranger, &|_| {}), "a pod of no Job");
    let other = JobRef { uid: "another".to_owned(), ..job() };
    assert!(!task(&Asker { job: Some(other), ..colleague() }, &|_| {}), "a Job of the same name");
    assert!(!task(&Asker { service_account: "other".to_owned(), ..colleague() }, &|_| {}), "another ServiceAccount");
    let elsewhere = PodName::new("other", asker().pod.uid()).unwrap();
    assert!(!task(&Asker { pod: elsewhere, ..asker() }, &|_| {}), "another namespace");

    // To a pod: to no other; to a session: to no other of the same pod.
    assert!(covered(&asker(), question(v1::Scope::Duration), "Duration", Scope::Duration));
    assert!(!covered(&colleague(), question(v1::Scope::Duration), "Duration", Scope::Duration));
    assert!(covered(&asker(), question(v1::Scope::Session), "Session", Scope::Session));
    let next = Question { session: "s-2".to_owned(), ..question(v1::Scope::Session) };
    assert!(!covered(&asker(), next, "Session", Scope::Session));
    assert!(!covered(&colleague(), question(v1::Scope::Session), "Session", Scope::Session));
    assert!(!covered(&asker(), question(v1::Scope::Task), "Once", Scope::Once));
    // What one person granted alone is for the pod that asked, whatever the request would have granted.
    assert!(!covered(&colleague(), question(v1::Scope::Task), "Task", Scope::Duration));
}

#[test]
fn broken_glass_covers_what_the_policy_would_approve_once() {
    let open = asked(question(v1::Scope::Once), "Once").spec;
    let covered = |asker: &Asker, broken: bool| {
        Checked::read(question(v1::Scope::Once), asker).unwrap().is_covered(asker, &open, Scope::Duration, broken)
    };
    assert!(covered(&asker(), true) && !covered(&asker(), false) && !covered(&colleague(), true));
}
