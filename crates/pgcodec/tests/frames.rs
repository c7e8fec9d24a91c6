//! Frames: the table of bad ones, the identity of decoding and encoding, and the split at every byte.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use bytes::{Bytes, BytesMut};
use pgcodec::backend::{
    Authentication, CopyResponse, DataRow, ErrorFields, Field, KeyData, Negotiate, RowDescription, TxState,
};
use pgcodec::frontend::{Bind, Execute, Format, Parse, Secret};
use pgcodec::{Backend, Frame, Framer, Frontend, Limits, Target, Violation};
use proptest::prelude::*;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn frames(mut framer: Framer, bytes: &[u8]) -> Result<Vec<Frame>, Violation> {
    framer.push(bytes)?;
    let mut out = Vec::new();
    while let Some(frame) = framer.next()? {
        out.push(frame);
    }
    Ok(out)
}

fn agent(bytes: &[u8]) -> Result<Vec<Frontend>, Violation> {
    let limits = Limits::default();
    frames(Framer::frontend(&limits), bytes)?.iter().map(|frame| Frontend::decode(frame, &limits)).collect()
}

fn upstream(bytes: &[u8]) -> Result<Vec<Backend>, Violation> {
    frames(Framer::backend(&Limits::default()), bytes)?.iter().map(Backend::decode).collect()
}

#[test]
fn bad_frames_of_the_agent_are_refused() {
    let smuggled = [frame(b'Q', b"select 1"), frame(b'Q', b"select 2\0")].concat();
    let rows: &[(&str, Vec<u8>, &str)] = &[
        ("query without NUL, a message behind it", smuggled, "08P01"),
        ("query with two NULs", frame(b'Q', b"select 1\0select 2\0"), "08P01"),
        ("query with nothing", frame(b'Q', b""), "08P01"),
        ("query that is not utf-8", frame(b'Q', b"select '\xff'\0"), "22021"),
        ("query that is overlong utf-8", frame(b'Q', b"select '\xc0\xa7'\0"), "22021"),
        ("length 0", b"Q\0\0\0\0".to_vec(), "08P01"),
        ("length 1", b"Q\0\0\0\x01".to_vec(), "08P01"),
        ("length 3", b"S\0\0\0\x03".to_vec(), "08P01"),
        ("length 2^31", b"Q\x80\0\0\0".to_vec(), "54000"),
        ("length 2^32 - 1", b"Q\xff\xff\xff\xff".to_vec(), "54000"),
        ("length just above the cap, no body", b"Q\0\x10\0\x01".to_vec(), "54000"),
        ("password above its cap", b"p\0\x01\0\0".to_vec(), "54000"),
        ("function call", frame(b'F', b"\0\0\0\x01\0\0\0\0\0\0"), "0A000"),
        ("unknown tag", frame(b'y', b""), "08P01"),
        ("backend tag", frame(b'Z', b"I"), "08P01"),
        ("NUL tag", frame(0, b""), "08P01"),
        ("sync with a body", frame(b'S', b"x"), "08P01"),
        ("flush with a body", frame(b'H', b"\0"), "08P01"),
        ("terminate with a body", frame(b'X', b"\0"), "08P01"),
        ("copy done with a body", frame(b'c', b"\0"), "08P01"),
        ("empty bind", frame(b'B', b""), "08P01"),
        ("bind without counts", frame(b'B', b"\0\0"), "08P01"),
        ("bind with more values than bytes", frame(b'B', b"\0\0\0\0\xff\xff\0\0\0\0"), "08P01"),
        ("bind with more formats than bytes", frame(b'B', b"\0\0\xff\xff\0\0\0\0"), "08P01"),
        ("bind with a value beyond its end", frame(b'B', b"\0\0\0\0\0\x01\0\0\0\x09ab\0\0"), "08P01"),
        ("bind with length -2", frame(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"), "08P01"),
        ("bind with format 2", frame(b'B', b"\0\0\0\x01\0\x02\0\x01\0\0\0\0\0\0"), "08P01"),
        ("bind with 2 formats for 1 value", frame(b'B', b"\0\0\0\x02\0\0\0\0\0\x01\0\0\0\0\0\0"), "08P01"),
        ("bind with bytes behind", frame(b'B', b"\0\0\0\0\0\0\0\0x"), "08P01"),
        ("short execute", frame(b'E', b"\0\0\0"), "08P01"),
        ("long execute", frame(b'E', b"\0\0\0\0\0\0"), "08P01"),
        ("execute without NUL", frame(b'E', b"abcd"), "08P01"),
        ("empty describe", frame(b'D', b""), "08P01"),
        ("describe without a name", frame(b'D', b"S"), "08P01"),
        ("describe of another kind", frame(b'D', b"T\0"), "08P01"),
        ("close of another kind", frame(b'C', b"s\0"), "08P01"),
        ("describe with two names", frame(b'D', b"S\0\0"), "08P01"),
        ("parse without count", frame(b'P', b"\0select 1\0"), "08P01"),
        ("parse with too many types", frame(b'P', b"\0select 1\0\xff\xff"), "08P01"),
        ("parse with a cut type", frame(b'P', b"\0select 1\0\0\x01\0\0"), "08P01"),
        ("parse with bytes behind", frame(b'P', b"\0select 1\0\0\0\0"), "08P01"),
        ("copy fail without NUL", frame(b'f', b"why"), "08P01"),
    ];
    for (what, bytes, code) in rows {
        let refused = agent(bytes).expect_err(what);
        assert_eq!(refused.sqlstate(), *code, "{what}: {refused}");
    }
}

#[test]
fn bad_frames_of_the_upstream_are_refused() {
    let rows: &[(&str, Vec<u8>, &str)] = &[
        ("function call response", frame(b'V', b"\0\0\0\0"), "0A000"),
        ("copy both", frame(b'W', b"\0\0\0"), "0A000"),
        ("frontend tag", frame(b'Q', b"\0"), "08P01"),
        ("gss", frame(b'R', b"\0\0\0\x07"), "0A000"),
        ("unknown authentication", frame(b'R', b"\0\0\0\x63"), "08P01"),
        ("md5 with a short salt", frame(b'R', b"\0\0\0\x05abc"), "08P01"),
        ("md5 with a long salt", frame(b'R', b"\0\0\0\x05abcde"), "08P01"),
        ("sasl without end", frame(b'R', b"\0\0\0\x0aSCRAM\0"), "08P01"),
        ("key of 3 bytes", frame(b'K', b"\0\0\0\x01abc"), "08P01"),
        ("key of 257 bytes", frame(b'K', &[1; 261]), "08P01"),
        ("state", frame(b'Z', b"X"), "08P01"),
        ("no state", frame(b'Z', b""), "08P01"),
        ("two states", frame(b'Z', b"II"), "08P01"),
        ("row with a cut column", frame(b'D', b"\0\x01\0\0\0\x05abc"), "08P01"),
        ("row with length -2", frame(b'D', b"\0\x01\xff\xff\xff\xfe"), "08P01"),
        ("row with bytes behind", frame(b'D', b"\0\0x"), "08P01"),
        ("row without count", frame(b'D', b"\0"), "08P01"),
        ("row with more columns than bytes", frame(b'D', b"\xff\xff"), "08P01"),
        ("description with more columns than bytes", frame(b'T', b"\xff\xff"), "08P01"),
        ("error without end", frame(b'E', b"SERROR\0"), "08P01"),
        ("error with bytes behind", frame(b'E', b"SERROR\0\0x"), "08P01"),
        ("error that is not utf-8", frame(b'E', b"M\xff\0\0"), "22021"),
        ("row above the cap", b"D\x01\0\0\x01".to_vec(), "54000"),
        ("error above the cap", b"E\0\x10\0\x01".to_vec(), "54000"),
        ("options above the bytes", frame(b'v', b"\0\x03\0\0\xff\xff\xff\xff"), "08P01"),
        ("copy in of format 2", frame(b'G', b"\x02\0\0"), "08P01"),
        ("parse complete with a body", frame(b'1', b"x"), "08P01"),
    ];
    for (what, bytes, code) in rows {
        let refused = upstream(bytes).expect_err(what);
        assert_eq!(refused.sqlstate(), *code, "{what}: {refused}");
    }
}

#[test]
fn limits_hold_at_and_just_above() {
    let limits = Limits { frontend_message: 20, bind_params: 1, ..Limits::default() };
    let at = |length: usize| {
        let bytes = frame(b'Q', &[vec![b'x'; length - 5], vec![0]].concat());
        frames(Framer::frontend(&limits), &bytes).map(|frames| frames.len())
    };
    assert_eq!(at(20), Ok(1));
    assert_eq!(at(21), Err(Violation::TooLong { tag: b'Q', length: 21, limit: 20 }));
    let parse = |count| Frontend::Parse(Parse { name: String::new(), sql: String::new(), param_types: vec![0; count] });
    let decode = |message: Frontend| {
        let mut out = BytesMut::new();
        message.encode(&mut out).unwrap();
        let frames = frames(Framer::frontend(&Limits::default()), &out).unwrap();
        Frontend::decode(&frames[0], &limits)
    };
    assert_eq!(decode(parse(1)), Ok(parse(1)));
    assert!(matches!(decode(parse(2)), Err(Violation::Limit { limit: 1, .. })));
}

#[test]
fn the_framer_holds_one_frame_and_one_read() {
    let limits = Limits { frontend_message: 100, bind_message: 200, ..Limits::default() };
    let mut framer = Framer::frontend(&limits);
    let bound = 200 + 5 + 64 * 1024;
    framer.push(&vec![b'B'; bound]).unwrap();
    assert!(framer.push(b"x").is_err());
}

#[test]
fn nothing_with_a_nul_is_encoded() {
    let mut out = BytesMut::from(&b"before"[..]);
    let bad = "a\0b".to_owned();
    for message in [
        Frontend::Query { sql: bad.clone() },
        Frontend::Describe(Target::Portal(bad.clone())),
        Frontend::CopyFail { message: bad.clone() },
    ] {
        assert!(message.encode(&mut out).is_err());
        assert_eq!(&out[..], b"before");
    }
    assert!(Backend::CommandComplete { tag: bad }.encode(&mut out).is_err());
    assert_eq!(&out[..], b"before");
}

// === properties ===

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn value() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Text), Just(Format::Binary)]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![text().prop_map(Target::Statement), text().prop_map(Target::Portal)]
}

fn bind() -> impl Strategy<Value = Bind> {
    let params = proptest::collection::vec(proptest::option::of(value()), 0..5);
    (text(), text(), params, 0..3_usize, format(), proptest::collection::vec(format(), 0..4)).prop_map(
        |(portal, statement, params, kind, format, result_formats)| {
            let formats = vec![format; [0, 1, params.len()][kind]];
            Bind { portal, statement, formats, params, result_formats }
        },
    )
}

fn frontend() -> impl Strategy<Value = Frontend> {
    prop_oneof![
        text().prop_map(|sql| Frontend::Query { sql }),
        (text(), text(), proptest::collection::vec(any::<u32>(), 0..4))
            .prop_map(|(name, sql, param_types)| Frontend::Parse(Parse { name, sql, param_types })),
        bind().prop_map(Frontend::Bind),
        (text(), 0..=0x7fff_ffff_u32).prop_map(|(portal, max_rows)| Frontend::Execute(Execute { portal, max_rows })),
        target().prop_map(Frontend::Describe),
        target().prop_map(Frontend::Close),
        Just(Frontend::Sync),
        Just(Frontend::Flush),
        Just(Frontend::Terminate),
        value().prop_map(Frontend::CopyData),
        Just(Frontend::CopyDone),
        text().prop_map(|message| Frontend::CopyFail { message }),
        value().prop_map(|data| Frontend::Password(Secret(data))),
    ]
}

fn fields() -> impl Strategy<Value = ErrorFields> {
    proptest::collection::vec((1..=255_u8, text()), 0..5)
        .prop_map(|all| all.into_iter().fold(ErrorFields::default(), |fields, (kind, text)| fields.with(kind, text)))
}

fn copy() -> impl Strategy<Value = CopyResponse> {
    (format(), proptest::collection::vec(format(), 0..4)).prop_map(|(format, columns)| CopyResponse { format, columns })
}

fn field() -> impl Strategy<Value = Field> {
    (text(), any::<u32>(), any::<i16>(), any::<u32>(), any::<i16>(), any::<i32>(), format()).prop_map(
        |(name, table, column, type_oid, type_len, type_mod, format)| Field {
            name,
            table,
            column,
            type_oid,
            type_len,
            type_mod,
            format,
        },
    )
}

fn backend() -> impl Strategy<Value = Backend> {
    let row = proptest::collection::vec(proptest::option::of(value()), 0..5)
        .prop_map(|values| Backend::DataRow(DataRow::new(values.iter().map(|v| v.as_deref())).unwrap()));
    let first = prop_oneof![
        Just(Backend::Authentication(Authentication::Ok)),
        Just(Backend::Authentication(Authentication::Cleartext)),
        any::<[u8; 4]>().prop_map(|salt| Backend::Authentication(Authentication::Md5 { salt })),
        proptest::collection::vec("[A-Z-]{1,9}", 0..3)
            .prop_map(|mechanisms| Backend::Authentication(Authentication::Sasl { mechanisms })),
        value().prop_map(|data| Backend::Authentication(Authentication::SaslContinue { data })),
        value().prop_map(|data| Backend::Authentication(Authentication::SaslFinal { data })),
        (any::<u32>(), proptest::collection::vec(any::<u8>(), 4..=256))
            .prop_map(|(pid, key)| Backend::BackendKeyData(KeyData { pid, key: key.into() })),
        (any::<u16>(), proptest::collection::vec(text(), 0..3))
            .prop_map(|(minor, options)| Backend::NegotiateProtocolVersion(Negotiate { minor, options })),
        (text(), text()).prop_map(|(name, value)| Backend::ParameterStatus { name, value }),
    ];
    let second = prop_oneof![
        prop_oneof![Just(TxState::Idle), Just(TxState::Transaction), Just(TxState::Failed)]
            .prop_map(Backend::ReadyForQuery),
        Just(Backend::ParseComplete),
        Just(Backend::BindComplete),
        Just(Backend::CloseComplete),
        Just(Backend::NoData),
        Just(Backend::PortalSuspended),
        Just(Backend::EmptyQueryResponse),
        text().prop_map(|tag| Backend::CommandComplete { tag }),
        proptest::collection::vec(any::<u32>(), 0..4).prop_map(|types| Backend::ParameterDescription { types }),
    ];
    let third = prop_oneof![
        proptest::collection::vec(field(), 0..4).prop_map(|fields| Backend::RowDescription(RowDescription { fields })),
        row,
        copy().prop_map(Backend::CopyIn),
        copy().prop_map(Backend::CopyOut),
        value().prop_map(Backend::CopyData),
        Just(Backend::CopyDone),
        fields().prop_map(Backend::ErrorResponse),
        fields().prop_map(Backend::NoticeResponse),
        (any::<u32>(), text(), text()).prop_map(|(pid, channel, payload)| Backend::NotificationResponse {
            pid,
            channel,
            payload
        }),
    ];
    prop_oneof![first, second, third]
}

/// Everything that comes out when the input arrives in pieces of that size.
fn in_pieces<M>(
    mut framer: Framer,
    bytes: &[u8],
    cuts: &[usize],
    decode: impl Fn(&Frame) -> Result<M, Violation>,
) -> Vec<Result<M, Violation>> {
    let mut out = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        framer.push(&bytes[from..to.max(from)]).unwrap();
        from = to.max(from);
        loop {
            match framer.next() {
                Ok(Some(frame)) => out.push(decode(&frame)),
                Ok(None) => break,
                Err(violation) => {
                    out.push(Err(violation));
                    return out;
                }
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn decoding_after_encoding_is_the_identity_for_the_agent(messages in proptest::collection::vec(frontend(), 0..6)) {
        let mut out = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut out).unwrap());
        prop_assert_eq!(agent(&out).unwrap(), messages);
    }

    #[test]
    fn decoding_after_encoding_is_the_identity_for_the_upstream(messages in proptest::collection::vec(backend(), 0..6)) {
        let mut out = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut out).unwrap());
        prop_assert_eq!(upstream(&out).unwrap(), messages);
    }

    #[test]
    fn a_split_at_any_byte_gives_the_same_events(
        messages in proptest::collection::vec(frontend(), 1..4),
        garbage in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let limits = Limits::default();
        let mut bytes = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut bytes).unwrap());
        bytes.extend_from_slice(&garbage);
        let decode = |frame: &Frame| Frontend::decode(frame, &limits);
        let whole = in_pieces(Framer::frontend(&limits), &bytes, &[], decode);
        for cut in 0..=bytes.len() {
            prop_assert_eq!(&in_pieces(Framer::frontend(&limits), &bytes, &[cut], decode), &whole);
        }
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&in_pieces(Framer::frontend(&limits), &bytes, &every, decode), &whole);
    }

    #[test]
    fn a_split_at_any_byte_gives_the_same_answers(messages in proptest::collection::vec(backend(), 1..4)) {
        let mut bytes = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut bytes).unwrap());
        let whole = in_pieces(Framer::backend(&Limits::default()), &bytes, &[], Backend::decode);
        for cut in 0..=bytes.len() {
            let pieces = in_pieces(Framer::backend(&Limits::default()), &bytes, &[cut], Backend::decode);
            prop_assert_eq!(&pieces, &whole);
        }
    }

    #[test]
    fn a_row_gives_its_values_back(values in proptest::collection::vec(proptest::option::of(value()), 0..6)) {
        let row = DataRow::new(values.iter().map(|value| value.as_deref())).unwrap();
        prop_assert_eq!(row.len(), values.len());
        let present: Vec<bool> = values.iter().map(Option::is_some).collect();
        prop_assert_eq!(row.present().collect::<Vec<_>>(), present);
        prop_assert_eq!(row.columns().collect::<Vec<_>>(), values);
    }

    #[test]
    fn garbage_is_an_error_or_a_message_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = agent(&bytes);
        let _ = upstream(&bytes);
    }
}
