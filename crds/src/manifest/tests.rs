use std::fs;
use std::path::Path;

use super::*;

const TARGET: &str = "apiVersion: agentaccess.dev/v1alpha1
kind: AccessTarget
metadata: {name: orders-db}
spec: {protocol: Postgres, host: db, port: 5432, credentialRef: {name: orders}, postgres: {databases: [orders]}}
";
const POLICY: &str = "apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccessPolicy
metadata: {name: support, namespace: agents}
spec: {podSelector: {}, targets: [{targetRef: {name: orders-db}, postgres: {rules: []}}]}
";
const CLUSTER: &str = "apiVersion: agentaccess.dev/v1alpha1
kind: ClusterAgentAccessPolicy
metadata: {name: prod}
spec: {namespaceSelector: {}, podSelector: {}, denyAll: true}
";
const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: orders}
type: Opaque
data: {password: aHVudGVy\nMg==}
stringData: {username: agent}
";

fn read(text: &str) -> Result<Vec<Located>, ManifestErrors> {
    parse(text, Path::new("p/a.yaml"), "local")
}

/// Each line of the errors.
fn refused(text: &str) -> Vec<String> {
    read(text).unwrap_err().to_string().lines().map(str::to_owned).collect()
}

fn secret() -> String {
    SECRET.replace("aHVudGVy\nMg==", "aHVudGVyMg==")
}

#[test]
fn all_kinds_in_one_file() {
    let text = format!("# first\n---\n{TARGET}---\n{POLICY}---\n---\n{CLUSTER}---\n{}", secret());
    let found = read(&text).unwrap();
    let seen: Vec<(String, usize)> = found.iter().map(|l| (l.manifest.describe(), l.document)).collect();
    assert_eq!(
        seen,
        [
            ("AccessTarget local/orders-db".to_owned(), 1),
            ("AgentAccessPolicy agents/support".to_owned(), 2),
            ("ClusterAgentAccessPolicy prod".to_owned(), 4),
            ("Secret local/orders".to_owned(), 5),
        ]
    );
    assert!(found.iter().all(|l| l.file == Path::new("p/a.yaml")));
    let Manifest::AccessTarget(target) = &found[0].manifest else { panic!("not a target") };
    assert_eq!(target.spec.postgres.as_ref().unwrap().search_path, ["public"]);
    let Manifest::Secret(secret) = &found[3].manifest else { panic!("not a Secret") };
    assert_eq!(secret.data["password"].expose(), b"hunter2");
    assert_eq!(secret.data["username"].expose(), b"agent");
}

#[test]
fn nothing_is_no_error() {
    for text in ["", "---\n", "# only a comment\n", "---\n---\n"] {
        assert!(read(text).unwrap().is_empty(), "{text:?}");
    }
}

#[test]
fn what_kubectl_prints_is_accepted() {
    let text = TARGET.replace(
        "{name: orders-db}",
        "{name: orders-db, labels: {a: b}, annotations: {c: d}, uid: u, resourceVersion: '7', generation: 2, \
         creationTimestamp: '2026-11-21T10:00:00Z', managedFields: [{manager: kubectl, operation: Apply}]}",
    );
    let status = "status: {observedGeneration: 2, conditions: [{type: Accepted}], ofAnotherVersion: true}\n";
    let found = read(&format!("{text}{status}")).unwrap();
    let Manifest::AccessTarget(target) = &found[0].manifest else { panic!("not a target") };
    assert_eq!(target.metadata.labels.as_ref().unwrap()["a"], "b");
    assert_eq!(target.status, None);
}

/// Text, the place that the error names, and a part of what it says.
#[test]
fn every_error_names_place_and_cure() {
    let rows: &[(&str, String, &str, &str)] = &[
        ("list at the top", "- a\n".into(), "", "one object with apiVersion"),
        ("text at the top", "hello\n".into(), "", "one object with apiVersion"),
        ("no kind", TARGET.replace("kind: AccessTarget\n", ""), ": kind: ", "write one of AccessTarget"),
        ("kind of number", TARGET.replace("AccessTarget", "7"), ": kind: ", "write one of AccessTarget"),
        (
            "no apiVersion",
            TARGET.replace("apiVersion: agentaccess.dev/v1alpha1\n", ""),
            ": apiVersion: ",
            "write `agentaccess.dev/v1alpha1`",
        ),
        (
            "unknown kind",
            TARGET.replace("AccessTarget", "AccesTarget"),
            ": kind: ",
            "unknown kind `AccesTarget`: expected one of AccessTarget,",
        ),
        ("a request", TARGET.replace("AccessTarget", "ApprovalRequest"), ": kind: ", "never read from files"),
        ("a list", "apiVersion: v1\nkind: List\nitems: []\n".into(), ": kind: ", "separated by `---`"),
        (
            "other version",
            TARGET.replace("v1alpha1", "v1"),
            ": apiVersion: ",
            "expected `agentaccess.dev/v1alpha1` for the kind AccessTarget",
        ),
        (
            "other group for Secret",
            secret().replace("apiVersion: v1", "apiVersion: agentaccess.dev/v1alpha1"),
            ": apiVersion: ",
            "expected `v1`",
        ),
        ("no metadata", TARGET.replace("metadata: {name: orders-db}\n", ""), ": metadata: ", "metadata.name"),
        (
            "no name",
            TARGET.replace("{name: orders-db}", "{namespace: a}"),
            ": metadata.name: ",
            "give the object a name",
        ),
        (
            "generateName",
            TARGET.replace("{name: orders-db}", "{name: a, generateName: a-}"),
            ": metadata.generateName: ",
            "unknown metadata field",
        ),
        ("name of number", TARGET.replace("{name: orders-db}", "{name: 7}"), ": metadata.name: ", "put it in quotes"),
        ("bad name", TARGET.replace("{name: orders-db}", "{name: Orders_DB}"), ": metadata.name: ", "use at most 253"),
        (
            "bad namespace",
            TARGET.replace("{name: orders-db}", "{name: a, namespace: a.b}"),
            ": metadata.namespace: ",
            "use at most 63",
        ),
        (
            "namespace of null",
            TARGET.replace("{name: orders-db}", "{name: a, namespace: }"),
            ": metadata.namespace: ",
            "remove the line",
        ),
        (
            "namespace of cluster kind",
            CLUSTER.replace("{name: prod}", "{name: prod, namespace: a}"),
            ": metadata.namespace: ",
            "has no namespace",
        ),
        (
            "metadata field",
            TARGET.replace("{name: orders-db}", "{name: a, label: {}}"),
            ": metadata.label: ",
            "unknown metadata field `label`",
        ),
        (
            "label of number",
            TARGET.replace("{name: orders-db}", "{name: a, labels: {b: 1}}"),
            ": metadata.labels.b: ",
            "expected a string",
        ),
        (
            "specs",
            TARGET.replace("spec:", "specs:"),
            ": specs: ",
            "unknown field `specs`: expected one of apiVersion, kind, metadata, spec",
        ),
        ("no spec", POLICY.split("spec:").next().unwrap().into(), "", "missing field `spec`"),
        ("status of a Secret", format!("{}status: {{}}\n", secret()), ": status: ", "unknown field"),
        (
            "unknown field",
            POLICY.replace("podSelector", "podSelektor"),
            ": spec.podSelektor: ",
            "unknown field `podSelektor`",
        ),
        (
            "unknown field, deep",
            POLICY.replace("rules: []", "rule: []"),
            ": spec.targets[0].postgres.rule: ",
            "unknown field `rule`, expected one of `rules`, `masks`, `detectors`",
        ),
        (
            "unknown verb",
            POLICY.replace("rules: []", "rules: [{name: a, action: Allow, verbs: [Selekt]}]"),
            ": spec.targets[0].postgres.rules[0].verbs[0]: ",
            "unknown variant `Selekt`",
        ),
        ("missing field", TARGET.replace("host: db, ", ""), ": spec: ", "missing field `host`"),
        ("port of text", TARGET.replace("5432", "'5432'"), ": spec.port: ", "expected i32"),
        ("port too large", TARGET.replace("5432", "5432000000"), ": spec.port: ", "expected i32"),
        ("host of number", TARGET.replace("host: db", "host: 7"), ": spec.host: ", "expected a string"),
        (
            "null for a list",
            POLICY.replace("podSelector: {}", "podSelector: {}, approvals: "),
            ": spec.approvals: ",
            "has no value",
        ),
        ("null for a map", POLICY.replace("podSelector: {}", "podSelector: "), ": spec.podSelector: ", "has no value"),
        ("null in a list", TARGET.replace("[orders]", "[null]"), ": spec.postgres.databases[0]: ", "has no value"),
        ("null for a spec", POLICY.split(" {podSelector").next().unwrap().into(), ": spec: ", "has no value"),
        (
            "bad duration",
            POLICY.replace("podSelector: {}", "podSelector: {}, approvals: [{name: a, holdFor: 20 s}]"),
            ": spec.approvals[0].holdFor: ",
            "for example `90s`",
        ),
        ("key twice", TARGET.replace("port: 5432", "port: 5432, port: 5433"), ": is not valid YAML", "duplicate entry"),
        (
            "label twice",
            POLICY.replace("podSelector: {}", "podSelector: {matchLabels: {a: b, a: c}}"),
            ": is not valid YAML",
            "duplicate entry",
        ),
        ("own tag", TARGET.replace("host: db", "host: !env DB"), ": spec.host: ", "the tag `!env` has no meaning"),
        (
            "merge key",
            POLICY.replace("podSelector: {}", "podSelector: {<<: {matchLabels: {}}}"),
            ": spec.podSelector.<<: ",
            "unknown field `<<`",
        ),
        ("syntax", "kind: [\n".into(), ": is not valid YAML", "line"),
        ("unknown alias", "kind: *a\n".into(), ": is not valid YAML", "unknown anchor"),
        ("secret: unknown field", format!("{}spec: {{}}\n", secret()), ": spec: ", "unknown field `spec`"),
        (
            "secret: not base64",
            secret().replace("aHVudGVyMg==", "hunter2"),
            ": data.password: ",
            "or write the plain value under stringData",
        ),
        (
            "secret: number",
            secret().replace("username: agent", "username: 77123"),
            ": stringData.username: ",
            "put it in quotes",
        ),
        (
            "secret: key twice",
            secret().replace("username: agent", "password: x"),
            ": stringData.password: ",
            "remove one of them",
        ),
        ("secret: bad key", secret().replace("username: agent", "a/b: x"), ": stringData: ", "made of letters"),
        ("secret: no map", secret().replace("{username: agent}", "agent"), ": stringData: ", "not a map"),
        ("secret: type", secret().replace("type: Opaque", "type: 7"), ": type: ", "write Opaque"),
        ("secret: immutable", format!("{}immutable: 1\n", secret()), ": immutable: ", "neither true nor false"),
        (
            "large object",
            TARGET.replace("host: db", &format!("host: {}", "a".repeat(MAX_OBJECT_BYTES))),
            "",
            "an object has at most 256 KiB",
        ),
        ("large file", " ".repeat(MAX_FILE_BYTES + 1), "", "a file has at most 4096 KiB"),
    ];
    for (what, text, place, cure) in rows {
        let errors = refused(text);
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        assert!(
            errors[0].starts_with("p/a.yaml") && errors[0].contains(place) && errors[0].contains(cure),
            "{what}: {errors:?}"
        );
        assert!(*what == "large file" || errors[0].contains("document 1"), "{what}: {errors:?}");
    }
}

#[test]
fn all_errors_are_reported_and_the_object_is_named() {
    let text = format!(
        "{}---\n{}---\n{POLICY}---\n{}",
        TARGET.replace("spec:", "specs:").replace("{name: orders-db}", "{name: orders-db, lables: {}}"),
        POLICY.replace("rules: []", "rule: []"),
        secret().replace("aHVudGVyMg==", "hunter2").replace("username: agent", "username: 1"),
    );
    let errors = refused(&text);
    assert_eq!(errors.len(), 5, "{errors:#?}");
    assert!(errors[0].starts_with("p/a.yaml, document 1 (AccessTarget orders-db): metadata.lables: "), "{errors:#?}");
    assert!(errors[1].starts_with("p/a.yaml, document 1 (AccessTarget orders-db): specs: "), "{errors:#?}");
    assert!(
        errors[2].starts_with("p/a.yaml, document 2 (AgentAccessPolicy agents/support): spec.targets[0]"),
        "{errors:#?}"
    );
    assert!(errors[3].starts_with("p/a.yaml, document 4 (Secret local/orders): data.password: "), "{errors:#?}");
    assert!(errors[4].starts_with("p/a.yaml, document 4 (Secret local/orders): stringData.username: "), "{errors:#?}");
}

/// The parser repeats a syntax error for ever when it is asked for the next document.
#[test]
fn reading_ends_at_a_syntax_error_and_goes_on_after_others() {
    let twice = TARGET.replace("port: 5432", "port: 5432, port: 5433");
    let errors = refused(&format!("{twice}---\n{twice}---\nkind: [\n---\n{twice}"));
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors[2].starts_with("p/a.yaml, document 3: is not valid YAML"), "{errors:#?}");
}

#[test]
fn an_object_stands_once() {
    let errors = refused(&format!("{TARGET}---\n{}", TARGET.replace("orders-db}", "orders-db, namespace: local}")));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("document 2 (AccessTarget local/orders-db)"), "{errors:?}");
    assert!(errors[0].contains("stands in p/a.yaml, document 1 too"), "{errors:?}");
    // The same name in another namespace, or of another kind, is another object.
    assert_eq!(
        read(&format!("{TARGET}---\n{}", TARGET.replace("orders-db}", "orders-db, namespace: b}"))).unwrap().len(),
        2
    );
    assert_eq!(
        read(&format!("{TARGET}---\n{}", secret().replace("{name: orders}", "{name: orders-db}"))).unwrap().len(),
        2
    );
}

#[test]
fn no_error_and_no_debug_text_holds_a_secret() {
    let rows = [
        secret().replace("aHVudGVyMg==", "hunter2!"),
        secret().replace("username: agent", "username: [hunter2]"),
        secret().replace("username: agent", "username: {hunter2: hunter2}"),
        secret().replace("username: agent", "username: !!int hunter2"),
        secret().replace("username: agent", "username: !!float hunter2"),
        secret().replace("username: agent", "username: !mine hunter2"),
        secret().replace("{username: agent}", "hunter2"),
        secret().replace("type: Opaque", "type: [hunter2]"),
        secret().replace("username: agent", "username: \"hunter2\\q\""),
        secret().replace("kind: Secret", "kind: Secrets").replace("username: agent", "username: hunter2"),
        secret().replace("stringData: {", "stringData: {username: hunter2, "),
    ];
    for text in rows {
        assert!(text.contains("hunter2"));
        let errors = read(&text).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors:?}");
    }
    let found = format!("{:?}", read(&secret()).unwrap());
    assert!(found.contains("<secret>") && !found.contains("hunter2") && !found.contains("[104"), "{found}");
}

#[test]
fn texts_from_files_cannot_steer_a_terminal() {
    let errors = refused(&TARGET.replace("spec:", "\"sp\\e[31m\\nec\\u202e\":"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(!errors[0].contains(['\u{1b}', '\u{202e}']), "{errors:?}");
}

#[test]
fn alias_bombs_end() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(refused(&text).len(), 1);
    assert_eq!(refused(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))).len(), 1);
}

#[test]
fn a_folder_is_read_in_order_and_only_its_yaml_files() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("b.yml", POLICY);
    put("a.yaml", TARGET);
    put("c.yaml", "");
    put(".hidden.yaml", "kind: [");
    put("README.md", "kind: [");
    put("d.yaml~", "kind: [");
    fs::create_dir(folder.path().join("e.yaml")).unwrap();
    fs::write(folder.path().join("e.yaml/f.yaml"), "kind: [").unwrap();
    let found = read_folder(folder.path(), "local").unwrap();
    let names: Vec<String> = found.iter().map(|l| l.file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["a.yaml", "b.yml"]);
}

#[test]
fn errors_of_all_files_of_a_folder_come_together() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), TARGET).unwrap();
    fs::write(folder.path().join("b.yaml"), TARGET).unwrap();
    fs::write(folder.path().join("c.yaml"), [0xff, 0xfe]).unwrap();
    fs::write(folder.path().join("d.yaml"), "kind: [").unwrap();
    fs::write(folder.path().join("e.yaml"), " ".repeat(MAX_FILE_BYTES + 1)).unwrap();
    let errors = read_folder(folder.path(), "local").unwrap_err().0;
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 4, "{texts:#?}");
    assert!(texts[0].contains("b.yaml, document 1") && texts[0].contains("a.yaml, document 1 too"), "{texts:#?}");
    assert!(texts[1].contains("c.yaml: is not UTF-8"), "{texts:#?}");
    assert!(texts[2].contains("d.yaml, document 1: is not valid YAML"), "{texts:#?}");
    assert!(texts[3].contains("e.yaml: a file has at most 4096 KiB"), "{texts:#?}");
}

#[test]
fn a_missing_folder_and_a_missing_file_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere");
    for errors in [read_folder(&missing, "local").unwrap_err(), read_file(&missing, "local").unwrap_err()] {
        assert!(errors.to_string().contains("nowhere: cannot be read"), "{errors}");
        assert!(errors.to_string().contains("check the path"), "{errors}");
    }
}

#[test]
fn too_many_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..=MAX_FILES {
        fs::write(folder.path().join(format!("{number}.yaml")), "").unwrap();
    }
    let errors = read_folder(folder.path(), "local").unwrap_err();
    assert!(errors.to_string().contains("more than 1000 YAML files"), "{errors}");
}

#[cfg(unix)]
#[test]
fn links_as_kubernetes_makes_them_are_followed() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("..2026_11_21");
    fs::create_dir(&version).unwrap();
    fs::write(version.join("a.yaml"), TARGET).unwrap();
    symlink("..2026_11_21", folder.path().join("..data")).unwrap();
    symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    let found = read_folder(folder.path(), "local").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].file, folder.path().join("a.yaml"));

    symlink("nowhere", folder.path().join("b.yaml")).unwrap();
    let errors = read_folder(folder.path(), "local").unwrap_err();
    assert!(errors.to_string().contains("b.yaml: cannot be read"), "{errors}");
}

#[test]
fn what_is_written_is_read_back() {
    let text = POLICY.replace(
        "rules: []",
        "rules: [{name: a, action: RequireApproval, approval: c, verbs: [Update, DDL], relations: ['public.*'], \
         columns: [a.b.c], functions: ['a.b(c, d)'], requireWhere: true, limits: {rows: 5}, message: 'no: \"x\"'}], \
         masks: [{name: m, columns: ['*.*.ssn'], method: Partial, inPredicates: Deny}]",
    );
    let text = text.replace("podSelector: {}", "podSelector: {matchExpressions: [{key: a, operator: In, values: ['1']}]}, \
        mode: Audit, recording: {level: Payload, durability: Synced}, serviceAccountNames: [s], approvals: [{name: c, \
        requiredApprovals: 2, pendingTTL: 1h30m, holdFor: 5s, reason: Required, inTransaction: {maxHold: 5s, onTimeout: Rollback}}]");
    for text in [text.as_str(), TARGET, CLUSTER] {
        let first = &read(text).unwrap()[0].manifest;
        let written = match first {
            Manifest::AccessTarget(o) => serde_yaml::to_string(o),
            Manifest::AgentAccessPolicy(o) => serde_yaml::to_string(o),
            Manifest::ClusterAgentAccessPolicy(o) => serde_yaml::to_string(o),
            Manifest::Secret(_) => panic!("a Secret is never written"),
        }
        .unwrap();
        let again = read(&written).unwrap();
        assert_eq!(format!("{first:?}"), format!("{:?}", again[0].manifest));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(kind|spec|metadata|apiVersion|Secret|v1|name|[-:{}\\[\\]&*!?|>'\"\n #,a0]){0,40}") {
        if let Err(errors) = read(&text) {
            proptest::prop_assert!(errors.0.iter().all(|e| e.to_string().starts_with("p/a.yaml")));
        }
    }
}

/// A key that stands twice says nothing about the rest; an alias of nothing leaves the parser inside of the document.
#[test]
fn what_is_broken_behind_another_fault_ends_the_reading() {
    for text in ["n:\nn: *b", "n:\nn: [*b, 1]\n---\nkind: x", "n: 1\nn: 2\n---\nn: 1\nn: *b\n---\n"] {
        let lines = refused(text);
        assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("duplicate entry")), "{lines:?}");
    }
    // What can be read is.
    let lines = refused("n: 1\nn: 2\n---\nkind: x");
    assert_eq!(lines.len(), 2, "{lines:?}");
}
