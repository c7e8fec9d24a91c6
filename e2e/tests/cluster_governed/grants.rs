//! Approvals that count for more than one operation: what they let through, and that everything that ran under one ends
//! with it within two seconds, however it ends. The oracle is the database.

use std::time::{Duration, Instant};

use e2e::cluster::Answer;
use e2e::wait;
use serde_json::{Value, json};

use super::agent::{START, container};
use super::asked::{Asked, Held, PATIENCE};
use super::database::AGENT;
use super::inside::{Psql, sh};

/// From the word to the last connection.
const CUT: Duration = Duration::from_secs(2);

fn granting(scope: &str) -> Asked {
    let settings = format!("scope: {scope}, maxGrantDuration: 30m, pendingTTL: 60s, holdFor: 45s");
    Asked::new(&format!("{{name: person, {settings}}}"))
}

fn delete(id: u32) -> String {
    format!("DELETE FROM orders WHERE id = {id} RETURNING id")
}

// === impl Asked ===

impl Asked {
    fn requests(&self) -> Vec<Value> {
        let found = self.world.cluster.get(&["areq", "-n", &self.world.namespace.name]).unwrap();
        found["items"].as_array().unwrap().clone()
    }

    fn spec(&self, held: &Held) -> Value {
        self.world.cluster.get(&["areq", "-n", &self.world.namespace.name, &held.name]).unwrap()["spec"].clone()
    }

    fn word(&self, who: &str, held: &Held, words: &[&str]) -> Answer {
        self.decide(&self.world.cluster.user(who), held, words)
    }

    /// A transaction that has deleted this row under the grant, and waits with it.
    fn open(&self, psql: &mut Psql, id: u32) {
        psql.ask("BEGIN").unwrap();
        let answer = psql.ask(&delete(id)).unwrap();
        assert_eq!(answer.trim(), id.to_string(), "{answer}");
        assert!(self.in_transaction() >= 1);
    }

    fn in_transaction(&self) -> u32 {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_db' AND state <> 'idle'";
        self.world.server.admin(sessions).unwrap().parse().unwrap()
    }

    /// No connection of the agent's has anything open, in time since the API server took the word, and nothing of it was kept.
    fn is_cut(&self, since: Instant, how: &str, row: u32) {
        wait::eventually(how, CUT * 5, || self.in_transaction() == 0).unwrap();
        let took = since.elapsed();
        println!("{how}: cut after {took:?}");
        assert!(took < CUT, "{how}: {took:?}");
        let kept = format!("SELECT count(*) FROM orders WHERE id = {row}");
        assert_eq!(self.world.server.admin(&kept).unwrap(), "1", "{how}: half of a transaction was kept");
    }
}

#[test]
fn a_grant_lets_the_same_action_through_until_it_is_revoked() {
    let mut asked = granting("Duration");
    let held = asked.hold(1);
    let grant = asked.spec(&held)["grant"].clone();
    let means = grant["means"].as_str().unwrap().to_owned();
    assert!(means.contains("every DELETE") && means.contains(AGENT) && means.contains("30m"), "{means}");
    let described = asked.world.cluster.user("alice");
    let described = described.run(&["-n", &asked.world.namespace.name, "describe", "areq", &held.name], None).unwrap();
    assert!(described.text.contains("not this statement alone"), "{}", described.text);
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert!(asked.answer(&held).contains('1'));

    // Other values, on this connection and on another.
    let mut second = asked.world.psql();
    assert_eq!(asked.psql.ask(&delete(2)).unwrap().trim(), "2");
    asked.open(&mut second, 3);
    assert_eq!((asked.deleted(), asked.requests().len()), (3, 1));
    let status = asked.status(&held);
    assert_eq!((status["phase"].as_str(), status["grant"]["scope"].as_str()), (Some("Approved"), Some("Duration")));
    // Another action is another question.
    let mut third = asked.world.psql();
    let update = third.send("UPDATE orders SET note = 'x' WHERE id = 4");
    wait::eventually("another question", PATIENCE, || asked.requests().len() == 2).unwrap();

    // Nobody but an approver ends it.
    asked.word("mallory", &held, &["agentaccess.dev/decision=revoke"]).refused("no right", "").unwrap();
    asked.word("bob", &held, &["agentaccess.dev/decision=revoke"]).accepted("a revocation").unwrap();
    let said = Instant::now();
    asked.is_cut(said, "revoked", 3);
    asked.phase(&held, "Revoked");
    assert!(second.ask("SELECT 1").is_none_or(|answer| answer.contains("ran under")));
    // The other operation goes on waiting; the granted one has to be asked for anew.
    assert!(third.until(&update, Duration::from_secs(1)).is_none());
    let mut fourth = asked.world.psql();
    let again = fourth.send(&delete(5));
    wait::eventually("it is asked for anew", PATIENCE, || asked.requests().len() == 3).unwrap();
    assert!(fourth.until(&again, Duration::from_secs(1)).is_none());
    assert_eq!(asked.deleted(), 3);
}

#[test]
fn whoever_approves_may_shorten_a_grant_and_its_end_cuts() {
    let mut asked = granting("Duration");
    let held = asked.hold(1);
    for (grant, why) in [("2h", "longer than this can be granted"), ("soon", "not a length of time"), ("0s", "zero")] {
        let words = ["agentaccess.dev/decision=approve".to_owned(), format!("agentaccess.dev/grant={grant}")];
        let words = words.each_ref().map(String::as_str);
        asked.word("alice", &held, &words).refused(grant, why).unwrap();
    }
    let words = ["agentaccess.dev/decision=approve", "agentaccess.dev/grant=8s"];
    let answer = asked.word("alice", &held, &words);
    answer.accepted("for eight seconds").unwrap();
    assert!(answer.text.contains("it counts until"), "{}", answer.text);
    let granted = Instant::now();
    assert!(asked.answer(&held).contains('1'));
    let mut second = asked.world.psql();
    asked.open(&mut second, 2);
    std::thread::sleep(Duration::from_secs(8).saturating_sub(granted.elapsed()));
    asked.is_cut(Instant::now(), "expired", 2);
    asked.phase(&held, "Expired");
    let mut third = asked.world.psql();
    let again = third.send(&delete(3));
    wait::eventually("it is asked for anew", PATIENCE, || asked.requests().len() == 2).unwrap();
    assert!(third.until(&again, Duration::from_secs(1)).is_none());
    assert_eq!(asked.deleted(), 2);
}

#[test]
fn a_grant_ends_with_its_connection_its_policy_its_request_and_its_pod() {
    // Its connection.
    let mut asked = granting("Session");
    let held = asked.hold(1);
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert!(asked.answer(&held).contains('1'));
    assert_eq!(asked.psql.ask(&delete(2)).unwrap().trim(), "2");
    let mut second = asked.world.psql();
    let other = second.send(&delete(3));
    wait::eventually("another connection asks", PATIENCE, || asked.requests().len() == 2).unwrap();
    assert!(second.until(&other, Duration::from_secs(1)).is_none());
    asked.psql = asked.world.psql();
    asked.phase(&held, "Withdrawn");
    drop(second);

    // The request.
    let mut asked = granting("Duration");
    let held = asked.hold(11);
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert!(asked.answer(&held).contains("11"));
    let mut second = asked.world.psql();
    asked.open(&mut second, 12);
    let name = asked.world.namespace.name.clone();
    let remove = ["-n", &name, "delete", "areq", &held.name];
    asked.world.cluster.run(&remove, None).unwrap().accepted("its removal").unwrap();
    let said = Instant::now();
    asked.is_cut(said, "deleted", 12);

    // The policy that it was given under.
    asked.psql = asked.world.psql();
    let held = asked.hold(13);
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert!(asked.answer(&held).contains("13"));
    let mut second = asked.world.psql();
    asked.open(&mut second, 14);
    let patch = json!([{"op": "replace", "path": "/spec/approvals/0/holdFor", "value": "44s"}]).to_string();
    let patch = ["-n", &name, "patch", "aap", "agent", "--type=json", "-p", &patch];
    asked.world.cluster.run(&patch, None).unwrap().accepted("another policy").unwrap();
    let said = Instant::now();
    asked.is_cut(said, "another policy", 14);

    // The pod.
    asked.psql = asked.world.psql();
    let held = asked.hold(15);
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert!(asked.answer(&held).contains("15"));
    let kill = ["-n", &name, "delete", "pod", AGENT, "--force", "--grace-period=0"];
    asked.world.cluster.run(&kill, None).unwrap().accepted("the pod").unwrap();
    wait::eventually("it is over", PATIENCE * 2, || {
        let mut mine = asked.requests().into_iter().filter(|one| one["metadata"]["name"] == held.name.as_str());
        mine.next().is_none_or(|one| ["Withdrawn", "Revoked"].iter().any(|word| one["status"]["phase"] == *word))
    })
    .unwrap();
}

/// The Job goes and its pod stays: garbage collection has nothing to do, and the grant is over all the same.
#[test]
fn a_grant_for_a_job_is_its_pods_and_ends_with_it() {
    let asked = granting("Task");
    let name = asked.world.namespace.name.clone();
    let cluster = asked.world.cluster.clone();
    let job = |job: &str, script: &str, pods: u32| {
        let mut spec = asked.world.worker("job", "")["spec"].clone();
        spec["containers"][0]["command"] = container("agent", script)["command"].clone();
        spec["restartPolicy"] = json!("Never");
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job, "namespace": name},
            "spec": {"backoffLimit": 0, "completions": pods, "parallelism": pods, "completionMode": "Indexed",
                     "template": {"metadata": {"labels": {"app": AGENT}}, "spec": spec}},
        })
    };
    let question = |id: &str| {
        let mine = |one: &Value| one["spec"]["statement"].as_str().unwrap().contains(id);
        wait::until("its question", START, || Ok(asked.requests().into_iter().find(|one| mine(one)))).unwrap()
    };
    let phase = |held: &str| {
        let mut mine = asked.requests().into_iter().filter(|one| one["metadata"]["name"] == held);
        mine.next()
            .map_or_else(|| "Gone".to_owned(), |one| one["status"]["phase"].as_str().unwrap_or_default().to_owned())
    };
    let approve = |held: &str| {
        let annotate = ["-n", &name, "annotate", "areq", held, "agentaccess.dev/decision=approve"];
        cluster.user("alice").run(&annotate, None).unwrap().accepted("an approval").unwrap();
    };

    // Two pods do the same, one later; one approval is for both, and it is over when they are done.
    let work = "sleep $((JOB_COMPLETION_INDEX * 8)); for id in 21 22; do psql -XAtqc \"DELETE FROM orders WHERE id = $id\"; done; sleep 3";
    cluster.create(&job("two", work, 2)).unwrap().accepted("a Job").unwrap();
    let held = question("= 21");
    assert_eq!(held["metadata"]["ownerReferences"][0]["kind"], "Job", "{held}");
    let held = held["metadata"]["name"].as_str().unwrap().to_owned();
    approve(&held);
    wait::eventually("the Job is complete", START * 2, || {
        cluster.get(&["job", "-n", &name, "two"]).unwrap()["status"]["succeeded"] == 2
    })
    .unwrap();
    wait::eventually("the grant is over", PATIENCE, || phase(&held) == "Revoked").unwrap();
    assert_eq!((asked.deleted(), asked.requests().len()), (4, 1));

    // The Job is taken away, and its pod is not.
    let stays = "psql -XAtqc 'DELETE FROM orders WHERE id = 31'; sleep 300";
    cluster.create(&job("left", stays, 1)).unwrap().accepted("a Job").unwrap();
    let held = question("= 31");
    let held = held["metadata"]["name"].as_str().unwrap().to_owned();
    let pod = cluster.get(&["pods", "-n", &name, "-l", "job-name=left"]).unwrap();
    let pod = pod["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    approve(&held);
    wait::eventually("its statement", PATIENCE, || asked.deleted() == 5).unwrap();
    let mut psql = asked.world.psql_in(&pod);
    asked.open(&mut psql, 32);
    let orphan = ["-n", &name, "delete", "job", "left", "--cascade=orphan", "--wait=false"];
    cluster.run(&orphan, None).unwrap().accepted("the Job").unwrap();
    let said = Instant::now();
    asked.is_cut(said, "the Job is gone", 32);
    wait::eventually("the grant is over", PATIENCE, || phase(&held) == "Revoked").unwrap();
    let lives = cluster.get(&["pod", "-n", &name, &pod]).unwrap();
    assert_eq!(lives["status"]["phase"], "Running", "the pod is still there");
}

/// Its controller takes the other pods away, and one of them takes its time.
#[test]
fn a_grant_for_a_job_ends_with_the_job_though_a_pod_of_it_goes_on() {
    let asked = granting("Task");
    let (cluster, name) = (asked.world.cluster.clone(), asked.world.namespace.name.clone());
    let job = |job: &str, script: &str, pods: u32| {
        let mut spec = asked.world.worker("job", "")["spec"].clone();
        spec["containers"][0]["command"] = container("agent", script)["command"].clone();
        spec["restartPolicy"] = json!("Never");
        spec["terminationGracePeriodSeconds"] = json!(60);
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job, "namespace": name},
            "spec": {"backoffLimit": 0, "completions": pods, "parallelism": pods, "completionMode": "Indexed",
                     "template": {"metadata": {"labels": {"app": AGENT}}, "spec": spec}},
        })
    };
    let lasting = "trap '' TERM; psql -XAtqc \"DELETE FROM orders WHERE id = $ID\"; \
                   while [ ! -e /tmp/stop ]; do sleep 0.2; done";
    let mut complete = job(
        "complete",
        &format!(
            "if [ $JOB_COMPLETION_INDEX = 0 ]; then while [ ! -e /tmp/done ]; do sleep 0.2; done; exit; fi; ID=41; {lasting}"
        ),
        2,
    );
    complete["spec"]["successPolicy"] = json!({"rules": [{"succeededIndexes": "0"}]});
    let failed = job("failed", &format!("ID=51; {lasting}"), 1);
    for (job, of, row, ends) in
        [(complete, "complete", 41, "SuccessCriteriaMet"), (failed, "failed", 51, "FailureTarget")]
    {
        cluster.create(&job).unwrap().accepted("a Job").unwrap();
        let part = format!("= {row}");
        let held = wait::until("its question", START, || {
            let mine = |one: &Value| one["spec"]["statement"].as_str().unwrap().contains(&part);
            Ok(asked.requests().into_iter().find(mine))
        })
        .unwrap();
        let (request, asker) =
            (held["metadata"]["name"].as_str().unwrap(), held["spec"]["subject"]["pod"].as_str().unwrap());
        let before = asked.deleted();
        let annotate = ["-n", &name, "annotate", "areq", request, "agentaccess.dev/decision=approve"];
        cluster.user("alice").run(&annotate, None).unwrap().accepted("an approval").unwrap();
        wait::eventually("its statement", PATIENCE, || asked.deleted() == before + 1).unwrap();
        let mut psql = asked.world.psql_in(asker);
        asked.open(&mut psql, row + 1);
        // How it ends.
        if of == "complete" {
            let first = ["pods", "-n", &name, "-l", "job-name=complete,batch.kubernetes.io/job-completion-index=0"];
            let first = cluster.get(&first).unwrap()["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
            sh(&cluster, &name, &first, "touch /tmp/done").accepted("the first is done").unwrap();
        } else {
            let deadline = r#"{"spec": {"activeDeadlineSeconds": 1}}"#;
            let patch = ["-n", &name, "patch", "job", of, "--type=merge", "-p", deadline];
            cluster.run(&patch, None).unwrap().accepted("a deadline").unwrap();
        }
        wait::eventually(ends, PATIENCE, || {
            let job = cluster.get(&["job", "-n", &name, of]).unwrap();
            let all = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
            all.iter().any(|one| one["type"] == ends && one["status"] == "True")
        })
        .unwrap();
        asked.is_cut(Instant::now(), ends, row + 1);
        let pod = cluster.get(&["pod", "-n", &name, asker]).unwrap();
        assert_eq!(pod["status"]["phase"], "Running", "the pod is still there: {pod:#}");
        wait::eventually("the grant is over", PATIENCE, || {
            let mine = |one: &Value| one["metadata"]["name"] == request && one["status"]["phase"] == "Revoked";
            asked.requests().iter().any(mine)
        })
        .unwrap();
        sh(&cluster, &name, asker, "touch /tmp/stop").accepted("its end").unwrap();
    }
}

#[test]
fn breaking_the_glass_takes_the_verb_and_a_reason_and_is_loud() {
    let mut asked = Asked::new("{name: person, requiredApprovals: 2, pendingTTL: 60s, holdFor: 50s}");
    let name = asked.world.namespace.name.clone();
    let cluster = asked.world.cluster.clone();
    let bind = ["-n", &name, "create", "rolebinding", "glass", "--clusterrole=agentaccess-breakglass", "--user=carol"];
    cluster.run(&bind, None).unwrap().accepted("a role").unwrap();
    let held = asked.hold(1);
    let (word, reason) = ("agentaccess.dev/decision=break-glass", "agentaccess.dev/reason=INC-9 the site is down");
    wait::eventually("the role holds", PATIENCE, || {
        cluster.user("carol").run(&["get", "areq", "-n", &name], None).unwrap().accepted
    })
    .unwrap();
    asked.word("carol", &held, &[word]).refused("without a reason", "says why").unwrap();
    asked.word("alice", &held, &[word, reason]).refused("without the verb", "breakglass").unwrap();
    let own = format!("system:serviceaccount:{name}:default");
    asked.word(&own, &held, &[word, reason]).refused("who asks", "").unwrap();
    asked
        .word("carol", &held, &[word, reason, "agentaccess.dev/grant=31m"])
        .refused("too long", "at most 30m")
        .unwrap();
    assert_eq!(asked.deleted(), 0);

    let answer = asked.word("carol", &held, &[word, reason]);
    answer.accepted("with both").unwrap();
    assert!(answer.text.contains("break-glass by carol") && answer.text.contains("counts until"), "{}", answer.text);
    assert!(asked.answer(&held).contains('1'));
    // The same action of this pod, for a while.
    assert_eq!(asked.psql.ask(&delete(2)).unwrap().trim(), "2");
    assert_eq!((asked.deleted(), asked.requests().len()), (2, 1));
    wait::eventually("the status says so", PATIENCE, || asked.status(&held)["grant"]["breakGlass"] == true).unwrap();

    let events = || cluster.get(&["events", "-n", &name]).unwrap()["items"].as_array().unwrap().clone();
    let loud = |one: &Value| {
        let note = one["message"].as_str().unwrap_or_default();
        one["reason"] == "BreakGlass" && one["type"] == "Warning" && note.contains("carol") && note.contains("INC-9")
    };
    wait::eventually("a Warning", PATIENCE, || events().iter().any(loud)).unwrap();
    let counted = format!("agentaccess_break_glass_total{{namespace=\"{name}\"}} 1");
    let found =
        cluster.get(&["pods", "-n", "agentaccess-system", "-l", "app.kubernetes.io/component=operator"]).unwrap();
    let operators: Vec<String> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    wait::eventually("the metric", PATIENCE, || {
        operators.iter().any(|pod| {
            let path = format!("/api/v1/namespaces/agentaccess-system/pods/{pod}:9090/proxy/metrics");
            cluster.raw(&path).unwrap().text.contains(&counted)
        })
    })
    .unwrap();
    let agent = ["-n", &name, "exec", AGENT, "-c", "agentaccess-proxy", "--", "/agentaccess"];
    let sessions = cluster.run(&[&agent[..], &["sessions", "ls", "-o", "json"]].concat(), None).unwrap();
    let sessions: Vec<Value> = serde_json::from_str(&sessions.text).unwrap();
    let told = sessions.iter().any(|one| {
        let session = one["session"].as_str().unwrap();
        let replay = cluster.run(&[&agent[..], &["replay", session]].concat(), None).unwrap();
        replay.text.contains("carol") && replay.text.contains("break-glass: INC-9")
    });
    assert!(told, "the recording names who broke the glass, and why: {sessions:?}");
    let mut second = asked.world.psql();
    asked.open(&mut second, 3);
    asked.word("bob", &held, &["agentaccess.dev/decision=revoke"]).accepted("a revocation").unwrap();
    let said = Instant::now();
    asked.is_cut(said, "broken glass is mended", 3);
}
