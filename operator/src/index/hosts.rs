//! Where a Secret may be used, by the word of its owner: the annotation `agentaccess.dev/hosts` on it.
//!
//! A target that it does not name gets nothing of the Secret, under no reference: which key holds a password and which one
//! the certificate of a CA is said by the target alone, and so by whom the Secret is kept from. Refused as a whole is an
//! annotation with one entry that cannot be read; an empty one allows nothing. No entry stands for more than one host.

use std::net::{IpAddr, Ipv6Addr};

use crds::limits;
use crds::target::HOSTS_ANNOTATION;

/// Entries of one annotation.
const MOST: usize = 64;

/// Of one Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// There is no annotation, and none is wanted.
    #[default]
    Any,
    /// There is no annotation, and this operator wants one of each Secret.
    Unsaid,
    Named(Vec<Place>),
    Misread(Misread),
}

/// A host, on each of its ports or on one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

/// Why a target gets nothing of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFor {
    Unsaid,
    /// It names other hosts, or, if `nobody`, none.
    Elsewhere {
        nobody: bool,
    },
    Misread(Misread),
}

/// What is wrong with an annotation; its text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    #[error("it has {0} entries, of {MOST} at most")]
    Many(usize),
    /// Counted from 1.
    #[error("its entry {number} {problem}")]
    Entry { number: usize, problem: Problem },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("is empty: remove the comma")]
    Empty,
    #[error("has a wildcard: name each host")]
    Wildcard,
    #[error(
        "is neither HOST nor HOST:PORT: give a DNS name or an IP address, one of IPv6 in brackets where a port follows"
    )]
    NoHost,
    #[error("has no port after its colon: give 1 to 65535")]
    NoPort,
}

// === impl Hosts ===

impl Hosts {
    /// `required`: whether a Secret without the annotation is for nobody.
    pub fn of(annotation: Option<&str>, required: bool) -> Self {
        match annotation {
            None if required => Self::Unsaid,
            None => Self::Any,
            Some(text) => read(text).map_or_else(Self::Misread, Self::Named),
        }
    }

    /// # Errors
    /// See [`NotFor`].
    pub fn allow(&self, host: &str, port: i32) -> Result<(), NotFor> {
        match self {
            Self::Any => Ok(()),
            Self::Unsaid => Err(NotFor::Unsaid),
            Self::Misread(misread) => Err(NotFor::Misread(*misread)),
            Self::Named(places) => {
                let host = Host::of(host);
                let meant = |place: &Place| place.host == host && place.port.is_none_or(|one| i32::from(one) == port);
                match places.iter().any(meant) {
                    true => Ok(()),
                    false => Err(NotFor::Elsewhere { nobody: places.is_empty() }),
                }
            }
        }
    }
}

// === impl NotFor ===

impl NotFor {
    /// A few words that go on from the Secret's name.
    pub fn short(self, host: &str, port: i32) -> String {
        match self {
            Self::Elsewhere { .. } => format!("is not for {}", place(host, port)),
            Self::Unsaid => format!("does not say for which hosts it is: annotate it with {HOSTS_ANNOTATION}"),
            Self::Misread(_) => format!("is for no host: its annotation {HOSTS_ANNOTATION} cannot be read"),
        }
    }

    /// What the Secret's owner types to allow the place, beside those that are allowed already.
    pub fn remedy(self, namespace: &str, name: &str, host: &str, port: i32) -> String {
        let secret = format!("secret {name} -n {namespace}");
        let place = place(host, port);
        match self {
            Self::Unsaid => format!("kubectl annotate {secret} '{HOSTS_ANNOTATION}={place}'"),
            // The hosts that it has are not told to whom it is not for.
            Self::Elsewhere { nobody: false } => {
                let path = HOSTS_ANNOTATION.replace('.', "\\.");
                let there = format!("$(kubectl get {secret} -o jsonpath='{{.metadata.annotations.{path}}}')");
                format!("kubectl annotate {secret} --overwrite \"{HOSTS_ANNOTATION}={there},{place}\"")
            }
            Self::Elsewhere { nobody: true } | Self::Misread(_) => {
                format!("kubectl annotate {secret} --overwrite '{HOSTS_ANNOTATION}={place}'")
            }
        }
    }
}

/// As an annotation names it.
pub fn place(host: &str, port: i32) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    }
}

// === impl Host ===

impl Host {
    /// One address has many spellings, and a name has capitals or not.
    fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_ascii_lowercase()), Self::Address)
    }
}

fn read(text: &str) -> Result<Vec<Place>, Misread> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let count = text.split(',').count();
    if count > MOST {
        return Err(Misread::Many(count));
    }
    let entries = text.split(',').zip(1..);
    entries.map(|(text, number)| entry(text.trim()).map_err(|problem| Misread::Entry { number, problem })).collect()
}

fn entry(text: &str) -> Result<Place, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.contains('*') {
        return Err(Problem::Wildcard);
    }
    let address = |text: &str| text.parse::<Ipv6Addr>().map(|address| Host::Address(address.into()));
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']').ok_or(Problem::NoHost)?;
        let host = address(inside).map_err(|_| Problem::NoHost)?;
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(port(digits)?),
            None if rest.is_empty() => None,
            None => return Err(Problem::NoHost),
        };
        return Ok(Place { host, port });
    }
    if let Ok(host) = address(text) {
        return Ok(Place { host, port: None });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    let ends = |c: char| c.is_ascii_alphanumeric();
    let good = |c: char| ends(c) || matches!(c, '-' | '.' | '_');
    match host.len() <= limits::NAME_CHARS && host.chars().all(good) && host.starts_with(ends) && host.ends_with(ends) {
        true => Ok(Place { host: Host::of(host), port }),
        false => Err(Problem::NoHost),
    }
}

fn port(digits: &str) -> Result<u16, Problem> {
    // A sign would be taken too.
    let only = digits.chars().all(|c| c.is_ascii_digit());
    digits.parse().ok().filter(|port| only && *port > 0).ok_or(Problem::NoPort)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allows(annotation: &str, host: &str, port: i32) -> bool {
        Hosts::of(Some(annotation), false).allow(host, port).is_ok()
    }

    #[test]
    fn a_host_that_is_named_is_allowed_and_no_other() {
        let table = [
            ("db.example", "db.example", 5432, true),
            ("db.example", "db.example", 1, true),
            ("db.example:5432", "db.example", 5432, true),
            ("db.example:5432", "db.example", 5433, false),
            ("db.example:5432", "db.example.org", 5432, false),
            ("db.example", "evil.db.example", 5432, false),
            ("db.example", "example", 5432, false),
            (" other.example:1 ,\tDB.Example:5432 ", "db.eXAMPLE", 5432, true),
            ("other.example:1, db.example:5432", "other.example", 5432, false),
            ("a_b-c.d", "a_b-c.d", 5432, true),
            ("10.0.0.1:5432", "10.0.0.1", 5432, true),
            ("10.0.0.1:5432", "10.0.0.11", 5432, false),
            ("fd00::1", "fd00::1", 5432, true),
            ("[fd00::1]", "FD00:0:0::1", 5432, true),
            ("[fd00::1]:5432", "fd00::1", 5432, true),
            ("[fd00::1]:5432", "fd00::1", 5433, false),
            // Without brackets the port is the end of another address.
            ("fd00::1:5432", "fd00::1", 5432, false),
            ("", "db.example", 5432, false),
            (" \n", "db.example", 5432, false),
        ];
        for (annotation, host, port, allowed) in table {
            assert_eq!(allows(annotation, host, port), allowed, "{annotation:?} {host} {port}");
        }
    }

    #[test]
    fn what_cannot_be_read_allows_nothing_and_says_where_it_is_wrong() {
        let many = vec!["db.example"; MOST + 1].join(",");
        let long = format!("{}.example", "a".repeat(limits::NAME_CHARS));
        let table = [
            ("db.example,", "entry 2 is empty"),
            (",db.example", "entry 1 is empty"),
            ("db.example, ,other", "entry 2 is empty"),
            ("db.example,*.example", "entry 2 has a wildcard"),
            ("*", "entry 1 has a wildcard"),
            ("db.example:", "entry 1 has no port"),
            ("db.example:0", "entry 1 has no port"),
            ("db.example:+1", "entry 1 has no port"),
            ("db.example:65536", "entry 1 has no port"),
            ("db.example:5432:1", "entry 1 has no port"),
            ("db.example:postgres", "entry 1 has no port"),
            (":5432", "entry 1 is neither HOST nor HOST:PORT"),
            ("db.example other.example", "entry 1 is neither HOST nor HOST:PORT"),
            ("db.example.", "entry 1 is neither HOST nor HOST:PORT"),
            ("-db", "entry 1 is neither HOST nor HOST:PORT"),
            ("postgres://db.example", "entry 1 has no port"),
            ("dö.example", "entry 1 is neither HOST nor HOST:PORT"),
            ("[fd00::1", "entry 1 is neither HOST nor HOST:PORT"),
            ("[fd00::1]5432", "entry 1 is neither HOST nor HOST:PORT"),
            ("[fd00::1]:", "entry 1 has no port"),
            ("[db.example]:5432", "entry 1 is neither HOST nor HOST:PORT"),
            (&many, "65 entries, of 64"),
            (&long, "entry 1 is neither HOST nor HOST:PORT"),
        ];
        for (annotation, problem) in table {
            let hosts = Hosts::of(Some(annotation), false);
            let Err(NotFor::Misread(misread)) = hosts.allow("db.example", 5432) else { panic!("{annotation:?}") };
            assert!(misread.to_string().contains(problem), "{annotation:?}: {misread}");
        }
        assert!(Hosts::of(Some(&vec!["db.example"; MOST].join(",")), false).allow("db.example", 5432).is_ok());
    }

    #[test]
    fn a_secret_that_says_nothing_is_for_all_unless_it_has_to() {
        assert_eq!(Hosts::of(None, false), Hosts::default());
        assert_eq!(Hosts::of(None, false).allow("db.example", 5432), Ok(()));
        assert_eq!(Hosts::of(None, true).allow("db.example", 5432), Err(NotFor::Unsaid));
        assert_eq!(Hosts::of(Some("db.example"), true).allow("db.example", 5432), Ok(()));
        let nobody = |text| Hosts::of(Some(text), false).allow("db.example", 5432);
        assert_eq!(nobody(""), Err(NotFor::Elsewhere { nobody: true }));
        assert_eq!(nobody("other"), Err(NotFor::Elsewhere { nobody: false }));
    }

    proptest! {
        /// What a message tells the owner to add is what allows it.
        #[test]
        fn a_place_as_it_is_shown_allows_just_itself(
            host in "[a-zA-Z0-9]([-a-zA-Z0-9._]{0,20}[a-zA-Z0-9])?|10\\.[0-9]\\.0\\.1|fd00::[0-9a-f]{1,4}",
            port in 1..=65_535i32,
            other in 1..=65_535i32,
        ) {
            let shown = place(&host, port);
            prop_assert!(allows(&shown, &host, port), "{shown}");
            prop_assert!(allows(&format!("x.example, {shown}"), &host.to_ascii_uppercase(), port), "{shown}");
            prop_assert_eq!(allows(&shown, &host, other), other == port);
            let longer = format!("{host}x");
            prop_assert!(!allows(&shown, &longer, port));
        }

        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,80}", entries in "[\\[\\]a-f0-9:.,* ]{0,40}") {
            for text in [text, entries] {
                let _ = Hosts::of(Some(&text), false).allow("db.example", 5432);
            }
        }
    }
}
