//! What a request says that the statement would do, where approvers see it; and what happens when it turns out to be more.

use super::asked::Asked;

const SHOWN: &str = "3 rows matched its condition when it was asked; it is rolled back if it changes more than 13 rows";

#[test]
fn people_see_how_many_rows_and_far_more_are_rolled_back() {
    let mut asked = Asked::new("{name: person, pendingTTL: 60s, holdFor: 45s, preview: [Explain, Count]}");
    let namespace = asked.world.namespace.name.clone();
    let rows = |asked: &Asked| asked.world.server.admin("SELECT count(*) FROM orders WHERE note LIKE 'old%'").unwrap();
    asked.world.server.admin("UPDATE orders SET note = 'old' WHERE id <= 3").unwrap();

    let delete = |turn: u32| format!("DELETE FROM orders WHERE note LIKE 'old%' AND id > -{turn} RETURNING 'gone'");
    let held = asked.hold_sql(&delete(1), "-1");
    let run = |arguments: &[&str]| {
        let answer = asked.world.cluster.run(arguments, None).unwrap();
        answer.accepted("kubectl").unwrap();
        answer.text
    };
    let listed = run(&["get", "areq", "-n", &namespace, "-o", "wide"]);
    let words: Vec<&str> = listed.lines().flat_map(str::split_whitespace).collect();
    assert!(words.contains(&"ROWS") && words.contains(&"ESTIMATE") && words.contains(&"3"), "{listed}");
    let described = run(&["describe", "areq", &held.name, "-n", &namespace]);
    let described: Vec<&str> = described.split_whitespace().collect();
    assert!(described.join(" ").contains(SHOWN), "{described:?}");
    asked.approve("alice", &held).accepted("an approval").unwrap();
    assert_eq!(asked.answer(&held).matches("gone").count(), 3);
    assert_eq!(rows(&asked), "0");

    // Between the question and the answer somebody else makes it far more.
    asked.world.server.admin("UPDATE orders SET note = 'old' WHERE id BETWEEN 10 AND 12").unwrap();
    let held = asked.hold_sql(&delete(2), "-2");
    asked.world.server.admin("UPDATE orders SET note = 'older' WHERE id BETWEEN 20 AND 40").unwrap();
    asked.approve("alice", &held).accepted("an approval").unwrap();
    let answer = asked.answer(&held);
    assert!(answer.contains("PX005") && answer.contains("changed 24 rows") && !answer.contains("gone"), "{answer}");
    assert_eq!(rows(&asked), "24");
}
