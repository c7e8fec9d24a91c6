//! Links in the documents lead somewhere.

use super::{none, source};

#[test]
fn every_relative_link_leads_to_a_file() {
    let root = source::root();
    let mut violations = Vec::new();
    let mut links = 0;
    for document in source::files(&["."], "md") {
        let name = &document.name;
        let folder = root.join(name).parent().unwrap().to_owned();
        let mut code = false;
        for (n, line) in document.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                code = !code;
            }
            if code {
                continue;
            }
            for target in targets(line) {
                links += 1;
                let place = if let Some(absolute) = target.strip_prefix('/') {
                    root.join(absolute)
                } else {
                    folder.join(target)
                };
                if !place.exists() {
                    violations.push(format!("{name}:{}: the link to `{target}` leads nowhere", n + 1));
                }
            }
        }
    }
    none(violations);
    assert!(links > 0, "no document has a link: this test looks in the wrong place");
}

/// The files that the Markdown links of a line name, anchors off; links to the web and within a page are left out.
fn targets(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:"))
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty())
        .collect()
}

#[test]
fn links_are_found_in_a_line() {
    let line = "see [a](x/a.rs#L3), [b](https://b), [c](#c) and [d](d.md \"title\")";
    assert_eq!(targets(line), ["x/a.rs", "d.md"]);
}
