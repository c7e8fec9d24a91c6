use pgcodec::backend::DataRow;
use proptest::prelude::*;

use super::*;

const TEXT: u32 = 25;
const JSON: u32 = 114;
const INT8: u32 = 20;
const NUMERIC: u32 = 1700;
const INT8S: u32 = 1016;
const RECORD: u32 = 2249;
const TSVECTOR: u32 = 3614;
/// Of users.
const OTHER: u32 = 50_000;

const CARD: &[u8] = b"4111111111111111";
const NUMBER: i64 = 4_111_111_111_111_111;

fn all() -> Net {
    let kinds: Kinds = KINDS.into_iter().collect();
    Net { find: kinds, redact: kinds }
}

fn numeric(digits: &[u16]) -> Vec<u8> {
    let count = u16::try_from(digits.len()).unwrap();
    [count, count - 1, 0, 0].iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
}

/// `array_send` of one dimension.
fn array(type_oid: u32, values: &[Option<&[u8]>]) -> Vec<u8> {
    let count = u32::try_from(values.len()).unwrap();
    let mut out: Vec<u8> = [1, 1, type_oid, count, 1].into_iter().flat_map(u32::to_be_bytes).collect();
    values.iter().for_each(|value| sized(&mut out, *value));
    out
}

fn row_of(values: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
    let mut out = u32::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for (type_oid, value) in values {
        out.extend(type_oid.to_be_bytes());
        sized(&mut out, *value);
    }
    out
}

fn sized(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
    out.extend(length.to_be_bytes());
    out.extend(value.unwrap_or_default());
}

fn covered(value: &[u8], type_oid: u32, format: Format) -> Result<Vec<u8>, Uncoverable> {
    let mut row = DataRow::new([Some(value), None, Some(b"beside".as_slice())].into_iter()).unwrap();
    let columns = [Column { type_oid, format }; 3];
    all().row(&mut row, &columns, &mut Seen::default())?;
    let values: Vec<Option<Vec<u8>>> = row.values().map(|value| value.map(<[u8]>::to_vec)).collect();
    assert_eq!((&values[1], values[2].as_deref()), (&None, Some(b"beside".as_slice())));
    Ok(values[0].clone().unwrap())
}

#[test]
fn each_form_has_its_cover() {
    use Format::{Binary, Text};
    let ten_to_12 = 1_000_000_000_000_i64.to_be_bytes();
    let harmless = numeric(&[1, 0, 0, 0]);
    let bound = numeric(&[4111, 1111, 1111, 1111]);
    let rows: Vec<(u32, Format, Vec<u8>, Vec<u8>)> = vec![
        (TEXT, Text, CARD.to_vec(), b"****************".to_vec()),
        (TEXT, Binary, b"x 4111111111111111".to_vec(), b"x ****************".to_vec()),
        (INT8, Text, CARD.to_vec(), b"1000000000000000".to_vec()),
        (INT8, Binary, NUMBER.to_be_bytes().to_vec(), ten_to_12.to_vec()),
        (INT8, Binary, (-NUMBER).to_be_bytes().to_vec(), ten_to_12.to_vec()),
        (INT8, Binary, 17_i64.to_be_bytes().to_vec(), 17_i64.to_be_bytes().to_vec()),
        (NUMERIC, Binary, bound.clone(), harmless.clone()),
        (JSON, Text, br#"{"a":4111111111111111}"#.to_vec(), br#"{"a":1000000000000000}"#.to_vec()),
        (3802, Binary, b"\x01[\"a@b.example\"]".to_vec(), b"\x01[\"***********\"]".to_vec()),
        (17, Binary, b"\x00\x01a@b.example\x00".to_vec(), b"\x00\x01***********\x00".to_vec()),
        (OTHER, Binary, b"a@b.example".to_vec(), b"***********".to_vec()),
        (
            INT8S,
            Binary,
            array(INT8, &[Some(&7_i64.to_be_bytes()), None, Some(&NUMBER.to_be_bytes())]),
            array(INT8, &[Some(&7_i64.to_be_bytes()), None, Some(&ten_to_12)]),
        ),
        // The length before it is that of a letter: it is no part of the address.
        (
            1009,
            Binary,
            array(TEXT, &[Some(format!("{}@b.example", "a".repeat(86)).as_bytes())]),
            array(TEXT, &[Some("*".repeat(96).as_bytes())]),
        ),
        (
            RECORD,
            Binary,
            row_of(&[(NUMERIC, Some(&bound)), (OTHER, None), (1009, Some(&array(TEXT, &[Some(CARD)])))]),
            row_of(&[
                (NUMERIC, Some(&harmless)),
                (OTHER, None),
                (1009, Some(&array(TEXT, &[Some(b"****************")]))),
            ]),
        ),
    ];
    for (type_oid, format, value, expected) in rows {
        let got = covered(&value, type_oid, format).unwrap();
        assert_eq!(got, expected, "{type_oid} {format:?} {:?}", String::from_utf8_lossy(&value));
        assert_eq!(covered(&got, type_oid, format).unwrap(), expected, "once is enough");
    }
}

#[test]
fn what_has_no_known_form_is_not_let_through() {
    let lexemes = [b"\x00\x00\x00\x01".as_slice(), CARD, b"\x00\x00\x01\x40\x01"].concat();
    let error = covered(&lexemes, TSVECTOR, Format::Binary).unwrap_err();
    assert_eq!(error, Uncoverable { kind: "card_number", type_oid: TSVECTOR });
    // Deeper than anybody looks.
    let mut nested = array(TEXT, &[Some(CARD)]);
    for _ in 0..12 {
        nested = array(INT8S, &[Some(&nested)]);
    }
    assert!(covered(&nested, INT8S, Format::Binary).is_err());
}

#[test]
fn what_is_reported_stays() {
    let report = Net { redact: Kinds::default(), ..all() };
    let mut row = DataRow::new([Some(CARD), Some(b"a@b.example x 4111111111111111".as_slice())].into_iter()).unwrap();
    let before = row.clone();
    let mut seen = Seen::default();
    report.row(&mut row, &[Column { type_oid: TEXT, format: Format::Text }; 2], &mut seen).unwrap();
    assert_eq!(row, before);
    let found = |kind: &str, values| Found { kind: kind.to_owned(), values, redacted: false };
    assert_eq!(seen.found(), [found("card_number", 2), found("email_address", 1)]);
}

proptest! {
    /// Whatever the bytes are, nothing fails, and no value changes its length.
    #[test]
    fn any_value_keeps_its_length(
        value in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            (prop::collection::vec(any::<u8>(), 0..8), prop::collection::vec(any::<u8>(), 0..8))
                .prop_map(|(before, behind)| [before, CARD.to_vec(), behind].concat()),
        ],
        type_oid in prop::sample::select(vec![TEXT, JSON, INT8, NUMERIC, INT8S, RECORD, TSVECTOR, OTHER, 0, 17, 3802]),
        binary in any::<bool>(),
    ) {
        let format = if binary { Format::Binary } else { Format::Text };
        if let Ok(got) = covered(&value, type_oid, format) {
            prop_assert_eq!(got.len(), value.len());
        }
    }
}
