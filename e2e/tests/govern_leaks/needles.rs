//! What a masked value looks like on the wire.

use std::fmt;

/// In each masked text of the schema.
const CANARY: &str = "CANARY";
/// Parts of texts, numbers and dates that only masked columns hold.
const TEXTS: [&str; 10] = [
    "777777.7",
    "1977-05",
    "1978-06",
    "424242",
    "4242.42",
    "1942-04",
    "42 days",
    "42.42.42",
    "May 1977",
    "424242424242",
];

pub(crate) struct Needle {
    what: &'static str,
    bytes: Vec<u8>,
    /// As text, in whatever case.
    any_case: bool,
}

// === impl Needle ===

impl Needle {
    pub(crate) fn canary() -> Self {
        Self { what: "the text", bytes: CANARY.into(), any_case: true }
    }

    pub(crate) fn is_in(&self, hay: &[u8]) -> bool {
        let same = |window: &[u8]| {
            if self.any_case { window.eq_ignore_ascii_case(&self.bytes) } else { window == self.bytes }
        };
        hay.windows(self.bytes.len()).any(same)
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.what, self.bytes.escape_ascii())
    }
}

pub(crate) fn needles() -> Vec<Needle> {
    let text = |what, text: &str| Needle { what, bytes: text.into(), any_case: true };
    let exact = |what, bytes: Vec<u8>| Needle { what, bytes, any_case: false };
    let mut all = vec![
        Needle::canary(),
        text("turned round", &CANARY.chars().rev().collect::<String>()),
        text("in hex", &hex(CANARY.as_bytes())),
        text("letters apart", &CANARY.chars().map(|one| format!("{one},")).collect::<String>()),
        exact("in UTF-16", CANARY.bytes().flat_map(|byte| [0, byte]).collect()),
    ];
    all.extend(TEXTS.map(|one| text("the value", one)));
    all.extend((0..3).map(|shift| exact("in base64", base64(shift))));
    // 1977-05-23, 1978-06-24 and 1942-04-02 as days from 2000-01-01.
    all.push(exact("the number", 424_242_i32.to_be_bytes().to_vec()));
    all.extend([-8_258_i32, -7_861, -21_093].map(|days| exact("the day", days.to_be_bytes().to_vec())));
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The letters that are the same whatever stands around, behind `shift` bytes of something else: six bits each, all of its.
fn base64(shift: usize) -> Vec<u8> {
    use base64::Engine as _;
    let text = [&vec![b'?'; shift][..], CANARY.as_bytes()].concat();
    let letters = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&text);
    letters.as_bytes().get((8 * shift).div_ceil(6)..8 * text.len() / 6).unwrap_or_default().to_vec()
}

#[test]
fn each_needle_is_found_where_it_is_and_nowhere_else() {
    let all = needles();
    let hits = |hay: &[u8]| all.iter().filter(|needle| needle.is_in(hay)).map(|needle| needle.what).collect::<Vec<_>>();
    assert_eq!(hits(b"a harmless text of 1977 and 42"), Vec::<&str>::new());
    for (hay, what) in [
        ("xcanaryx", "the text"),
        ("YRANAC", "turned round"),
        ("\\x2d43414e415259", "in hex"),
        ("Q0FOQVJZ", "in base64"),
        ("P0NBTkFSWQ", "in base64"),
        ("Pz9DQU5BUlk", "in base64"),
        ("1977-05-23", "the value"),
    ] {
        assert_eq!(hits(hay.as_bytes()), [what], "{hay}");
    }
    assert_eq!(hits(&[0, 0, 0, 4, 0, 6, 0x79, 0x32]), ["the number"]);
}
