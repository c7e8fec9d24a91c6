//! Who we are: only what a user without any privilege sees proves something about the agent.

use std::fs;

const STATUS: &str = "/proc/self/status";
/// Sets of capabilities that a process has or can pass on. The bounding set alone gives nothing.
const CAPABILITIES: [&str; 4] = ["CapInh", "CapPrm", "CapEff", "CapAmb"];

/// # Errors
/// One sentence for each thing that would make the probes worthless.
pub(super) fn check(user: u32) -> Result<(), Vec<String>> {
    let status = fs::read_to_string(STATUS).map_err(|e| vec![format!("cannot read {STATUS}: {e}")])?;
    let surprises = surprises(&status, user);
    if surprises.is_empty() { Ok(()) } else { Err(surprises) }
}

fn surprises(status: &str, user: u32) -> Vec<String> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let mut surprises = Vec::new();
    let uids: Option<Vec<u32>> =
        field("Uid").and_then(|uids| uids.split_whitespace().map(|uid| uid.parse().ok()).collect());
    match uids.as_deref() {
        Some([_, _, _, _]) => {}
        _ => surprises.push(format!("{STATUS} does not name our four user ids")),
    }
    let uids = uids.unwrap_or_default();
    if uids.contains(&user) {
        surprises.push(format!("verify runs as user {user}, which is the sidecar's: the fence lets that one out"));
    }
    if uids.contains(&0) {
        surprises.push("verify runs as user 0: give it one of its own, without privileges".to_owned());
    }
    for set in CAPABILITIES {
        match field(set).map(|value| u64::from_str_radix(value.trim(), 16)) {
            Some(Ok(0)) => {}
            Some(Ok(_)) => surprises.push(format!("verify holds capabilities ({set}): drop ALL")),
            Some(Err(_)) | None => surprises.push(format!("{STATUS} does not say what {set} is")),
        }
    }
    surprises
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uids: &str, effective: &str) -> String {
        let none = "0000000000000000";
        format!(
            "Name:\tx\nUid:\t{uids}\nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{effective}\nCapBnd:\tff\nCapAmb:\t{none}\n"
        )
    }

    #[test]
    fn any_privilege_is_a_surprise() {
        let none = "0000000000000000";
        assert!(surprises(&status("7\t7\t7\t7", none), 1_337).is_empty());
        for (uids, effective, said) in [
            ("7\t7\t1337\t7", none, "the sidecar's"),
            ("7\t7\t0\t7", none, "user 0"),
            ("7\t7\t7\t7", "0000000000002000", "CapEff"),
            ("7\t7\t7", none, "four user ids"),
            ("7\t7\t7\t7", "many", "what CapEff is"),
        ] {
            let all = surprises(&status(uids, effective), 1_337);
            assert!(all.len() == 1 && all[0].contains(said), "{uids} {effective}: {all:?}");
        }
        assert_eq!(surprises("", 1_337).len(), 5);
    }
}
