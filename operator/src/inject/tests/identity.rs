//! Who chooses the sidecar's user: we, and nobody else.

use super::*;

fn user(pod: &Value) -> u64 {
    pod["spec"]["initContainers"][1]["securityContext"]["runAsUser"].as_u64().unwrap()
}

fn sealed(pod: &Value) -> &str {
    pod["metadata"]["annotations"]["agentaccess.dev/proxy-user"].as_str().unwrap()
}

#[test]
fn a_second_injection_of_one_admission_keeps_the_user() {
    let first = run(&plain()).unwrap().pod;
    let second = inject(&first, "agents", &settings(), &Moment { now: NOW + 60, ..moment(4711) }).unwrap();
    assert_eq!(second.pod, first);
    // Nothing was forged: no warning about removed containers.
    assert!(!second.warnings.iter().any(|warning| warning.contains("removed")), "{:?}", second.warnings);
}

#[test]
fn a_user_that_comes_with_the_pod_is_not_believed() {
    let first = run(&plain()).unwrap().pod;
    let forged = changed(|pod| {
        let context = json!({"runAsUser": 1_234_567_890});
        pod["spec"]["initContainers"] =
            json!([{"name": "agentaccess-proxy", "image": "evil", "securityContext": context}]);
        pod["metadata"]["annotations"] = json!({"agentaccess.dev/proxy-user": "1234567890"});
    });
    let pod = run(&forged).unwrap().pod;
    assert_ne!(user(&pod), 1_234_567_890);
    assert!(!pod.to_string().contains("evil"));

    let again_in = |namespace: &str, text: &str, moment: Moment<'_>| {
        let mut pod = first.clone();
        pod["metadata"]["annotations"]["agentaccess.dev/proxy-user"] = json!(text);
        user(&inject(&pod, namespace, &settings(), &moment).unwrap().pod)
    };
    let again = |text: &str, moment: Moment<'_>| again_in("agents", text, moment);
    let (text, other) = (sealed(&first), moment(4711));
    assert_eq!(again(text, other), user(&first));
    // Of an earlier admission, of another namespace, from the future, of another installation, edited.
    assert_ne!(again(text, Moment { now: NOW + 61, ..other }), user(&first));
    assert_ne!(again_in("other", text, other), user(&first));
    assert_ne!(again(text, Moment { now: NOW - 6, ..other }), user(&first));
    assert_ne!(again(text, Moment { seal: &Seal::new(b"another"), ..other }), user(&first));
    for edited in [
        format!("+{text}"),
        format!("0{text}"),
        format!("{text}.x"),
        text.to_uppercase(),
        text.replace('.', " "),
        String::new(),
    ] {
        if edited != text {
            assert_ne!(again(&edited, other), user(&first), "{edited}");
        }
    }
    for n in 0..text.len() {
        let mut edited = text.as_bytes().to_vec();
        edited[n] = if edited[n] == b'1' { b'2' } else { b'1' };
        let edited = String::from_utf8(edited).unwrap();
        assert_ne!(again(&edited, other), user(&first), "{edited}");
    }
}

#[test]
fn no_user_or_group_that_the_pod_names_is_chosen() {
    let chosen = user(&run(&plain()).unwrap().pod);
    type Edit = fn(&mut Value, u64);
    let places: [Edit; 6] = [
        |pod, user| pod["spec"]["securityContext"] = json!({"runAsUser": user}),
        |pod, user| pod["spec"]["securityContext"] = json!({"runAsGroup": user}),
        |pod, user| pod["spec"]["securityContext"] = json!({"fsGroup": user}),
        |pod, user| pod["spec"]["securityContext"] = json!({"supplementalGroups": [7, user]}),
        |pod, user| pod["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": user}),
        |pod, user| pod["spec"]["initContainers"][0]["securityContext"] = json!({"runAsGroup": user}),
    ];
    for (n, edit) in places.into_iter().enumerate() {
        let pod = run(&changed(|pod| edit(pod, chosen))).unwrap().pod;
        assert_ne!(user(&pod), chosen, "{n}");
        // Another webhook names it after the first injection: then it is chosen anew.
        let mut injected = run(&plain()).unwrap().pod;
        match n {
            4 => injected["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": chosen}),
            5 => injected["spec"]["initContainers"][3]["securityContext"] = json!({"runAsGroup": chosen}),
            _ => edit(&mut injected, chosen),
        }
        assert_ne!(user(&run(&injected).unwrap().pod), chosen, "{n}");
    }
}

#[test]
fn a_user_namespace_has_small_users() {
    let pod = changed(|pod| pod["spec"]["hostUsers"] = json!(false));
    for draw in [0, 1, 29_999, 30_000, u64::MAX] {
        let pod = inject(&pod, "agents", &settings(), &moment(draw)).unwrap().pod;
        for n in [1, 2] {
            let user = pod["spec"]["initContainers"][n]["securityContext"]["runAsUser"].as_u64().unwrap();
            assert!((30_000..60_000).contains(&user), "{user}");
        }
    }
    // A large user was chosen; then another webhook asked for a user namespace.
    let mut injected = run(&plain()).unwrap().pod;
    injected["spec"]["hostUsers"] = json!(false);
    assert!((30_000..60_000).contains(&user(&run(&injected).unwrap().pod)));
    let all: Vec<u32> = (30_000..60_000).collect();
    let full = changed(|pod| {
        pod["spec"]["hostUsers"] = json!(false);
        pod["spec"]["securityContext"] = json!({"supplementalGroups": all});
    });
    assert!(run(&full).unwrap_err().to_string().contains("none is left"));
}

#[test]
fn the_secret_is_not_shown() {
    assert_eq!(format!("{:?}", *SEAL), "<secret>");
}
