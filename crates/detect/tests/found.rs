//! What is found and what is not, by table; and the laws: linear, no panic, covered once is covered.

#![expect(clippy::string_slice, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use detect::{Cover, Finding, KINDS, Kind, Kinds, cover, find};
use proptest::prelude::*;

fn all() -> Kinds {
    KINDS.into_iter().collect()
}

fn found(text: &str) -> Vec<(Kind, String)> {
    find(text.as_bytes(), all()).map(|Finding { kind, range }| (kind, text[range].to_owned())).collect()
}

fn jwt() -> String {
    // {"alg":"HS256","typ":"JWT"} . {"sub":"1"} . signature
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl".to_owned()
}

fn pem(line_end: &str) -> String {
    [
        "-----BEGIN RSA PRIVATE KEY-----",
        "Proc-Type: 4,ENCRYPTED",
        "",
        "MIIEow+/IBAAKC==",
        "-----END RSA PRIVATE KEY-----",
    ]
    .join(line_end)
}

/// A line break as JSON and COPY write it is none of a word, nor is one of JSON in COPY.
#[test]
fn behind_an_escape_a_word_begins() {
    for escape in [r"\n", r"\t", r"\r", r"\\n", r"\u000a", r"\\u0009"] {
        let text =
            format!(r#"{{"n": "first{escape}123-45-6789{escape}4111111111111111{escape}AKIAIOSFODNN7EXAMPLE"}}"#);
        assert_eq!(
            found(&text),
            [
                (Kind::SocialSecurityNumber, "123-45-6789".to_owned()),
                (Kind::CardNumber, "4111111111111111".to_owned()),
                (Kind::AccessToken, "AKIAIOSFODNN7EXAMPLE".to_owned()),
            ],
            "{text}"
        );
    }
    assert_eq!(found("n123-45-6789 un4111111111111111"), []);
}

#[test]
fn these_are_found() {
    let card = Kind::CardNumber;
    let (ssn, email, token) = (Kind::SocialSecurityNumber, Kind::EmailAddress, Kind::AccessToken);
    let jwt = jwt();
    let secret = "0123456789abcdefghijABCDEFGHIJ012345";
    let mut rows: Vec<(Kind, String)> = [
        // Numbers that issuers publish for tests.
        (card, "4111111111111111"),
        (card, "4111 1111 1111 1111"),
        (card, "4111-1111-1111-1111"),
        (card, "4222222222222"),
        (card, "5555555555554444"),
        (card, "2223003122003222"),
        (card, "378282246310005"),
        (card, "3782 822463 10005"),
        (card, "30569309025904"),
        (card, "38520000023237"),
        (card, "6011111111111117"),
        (card, "3530111333300000"),
        (card, "6200000000000005"),
        (card, "6759649826438453"),
        (ssn, "078-05-1120"),
        (ssn, "219 09 9999"),
        (email, "ada@example.org"),
        (email, "ada.lovelace+x@mail.example.co.uk"),
        (email, "o'hara@example.org"),
        (email, "jörg@müller.example"),
        (token, "AKIAIOSFODNN7EXAMPLE"),
        (token, "sk_live_0123456789abcdefghij"),
        (token, "glpat-0123456789abcdefghij"),
        (token, "xoxb-0123456789-abcdef"),
        (token, &jwt),
    ]
    .map(|(kind, text)| (kind, text.to_owned()))
    .to_vec();
    for prefix in ["ghp_", "gho_", "ghs_", "npm_", "AIza", "hvs.", "sk-ant-", "github_pat_", "ya29.", "shpat_"] {
        rows.push((token, format!("{prefix}{secret}")));
    }
    for line_end in ["\n", "\r\n", "\\n"] {
        rows.push((token, pem(line_end)));
    }
    for (kind, text) in rows {
        for (before, behind) in [
            ("", ""),
            ("see ", "."),
            ("\"", "\","),
            ("{", "}"),
            ("(", ",x)"),
            ("\t", "\t"),
            ("a=", "&b"),
            ("<b>", "</b>"),
            ("'", "'"),
        ] {
            let all = format!("{before}{text}{behind}");
            assert_eq!(found(&all), [(kind, text.clone())], "{all}");
            // Of another kind nothing is found.
            let others: Kinds = KINDS.into_iter().filter(|other| *other != kind).collect();
            assert_eq!(find(all.as_bytes(), others).count(), 0, "{all}");
        }
    }
}

#[test]
fn several_are_found_in_order() {
    let text = format!("4111111111111111,a@b.example;078-05-1120 {} 5555555555554444 378282246310005", jwt());
    let kinds: Vec<Kind> = found(&text).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::CardNumber,
            Kind::EmailAddress,
            Kind::SocialSecurityNumber,
            Kind::AccessToken,
            Kind::CardNumber,
            Kind::CardNumber
        ]
    );
}

#[test]
fn these_are_not_found() {
    for text in [
        "",
        "4111111111111112",
        "411111111111111",
        "41111111111111111111",
        "4111 1111-1111 1111",
        "41 11 11 11 11 11 11 11",
        "0.4111111111111111",
        "x4111111111111111",
        "4111111111111111a",
        // A time, a day, a UUID, digests.
        "1795369821428",
        "1795369821428000",
        "2026-11-22 18:45:32.720555",
        "4d1b1e5c-4111-1111-1111-111111111111",
        "9e107d9d372bb6826bd81d3542a419d6",
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123-45 6789",
        "123456789",
        "123-45-6789-0",
        "1-123-45-6789",
        "@example.org",
        "ada@",
        "ada@example",
        "ada@.example",
        "ada@10.0.0.1",
        "a @ b.example",
        "AKIA",
        "AKIAIOSFODNN7",
        "xAKIAIOSFODNN7EXAMPLE",
        "sk_live_short",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJub3RoaW5nIjoxfQ.eyJzdWIiOiIxIn0.c2ln",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn a_key_that_is_cut_is_covered_as_far_as_it_goes() {
    let whole = pem("\n");
    let cut = &whole[..whole.find("-----END").unwrap() - 3];
    assert_eq!(
        found(&format!("{cut}\t4111111111111111")),
        [(Kind::AccessToken, cut.to_owned()), (Kind::CardNumber, "4111111111111111".to_owned())]
    );
}

#[test]
fn what_covers_is_as_long_and_means_nothing() {
    for (text, how, expected) in [
        ("4111111111111111", Cover::Number, "1000000000000000"),
        ("4111111111111111", Cover::Text, "****************"),
        ("4111 1111 1111 1111", Cover::Number, "*******************"),
        ("a@b.example", Cover::Number, "***********"),
        ("x\ny\r\n", Cover::Text, "*\n*\r\n"),
    ] {
        let mut bytes = text.as_bytes().to_vec();
        cover(&mut bytes, how);
        assert_eq!(bytes, expected.as_bytes());
    }
}

/// A text that makes each word look promising takes as long as any other.
#[test]
fn no_text_takes_long() {
    for piece in [
        "eyJ-",
        "eyJhbGciOiJIUzI1NiJ9-",
        "a@",
        "@a",
        "sk-",
        "-----BEGIN ",
        "4111-",
        "411 ",
        "-----BEGIN PRIVATE KEY-----",
        "eyJhbGciOiJub25lIn0.",
    ] {
        let text = piece.repeat(4_000_000 / piece.len());
        let begun = Instant::now();
        let findings = find(text.as_bytes(), all()).count();
        // A second for a megabyte would be 250 times as long as it takes.
        assert!(begun.elapsed() < Duration::from_secs(4), "{piece}: {:?}, {findings} found", begun.elapsed());
    }
}

#[test]
fn what_stands_directly_behind_a_finding_is_found_too() {
    let text = ["ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned(), pem("\n"), jwt()].concat();
    assert_eq!(find(text.as_bytes(), all()).map(|found| found.range.len()).sum::<usize>(), text.len());
}

proptest! {
    #[test]
    fn covered_once_is_covered(parts in prop::collection::vec(prop_oneof![
        Just("4111111111111111".to_owned()), Just("5555 5555 5555 4444".to_owned()), Just("a.b@c.example".to_owned()),
        Just("078-05-1120".to_owned()), Just(jwt()), Just(pem("\n")), Just("ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned()),
        "[ -~]{0,12}", "[0-9 -]{0,24}", "[@.a-e]{0,12}",
    ], 0..12), numbers in any::<bool>()) {
        let text = parts.concat();
        let mut bytes = text.clone().into_bytes();
        let how = if numbers { Cover::Number } else { Cover::Text };
        for Finding { range, .. } in find(text.as_bytes(), all()) {
            cover(&mut bytes[range], how);
        }
        // What was beside a finding may be one now: it stood in the shade of it. Twice is enough for all.
        let once = bytes.clone();
        for Finding { range, .. } in find(&once, all()) {
            cover(&mut bytes[range], how);
        }
        prop_assert_eq!(find(&bytes, all()).next(), None, "{}", String::from_utf8_lossy(&bytes));
        prop_assert_eq!(bytes.len(), text.len());
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for Finding { range, .. } in find(&bytes, all()) {
            prop_assert!(range.start < range.end && range.end <= bytes.len());
        }
    }
}
