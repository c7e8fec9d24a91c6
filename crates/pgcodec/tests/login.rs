//! Before a session: startup packets, `options`, SCRAM against the client half of `postgres-protocol`, cancel keys, and the
//! encoders against those of `postgres-protocol`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::type_complexity, reason = "test helpers")]

use bytes::{Bytes, BytesMut};
use pgcodec::backend::{Authentication, KeyData};
use pgcodec::cancel::CancelKey;
use pgcodec::frontend::{Bind, Execute, Format, Parse, Secret};
use pgcodec::login::{LoginFrame, SaslInitialResponse};
use pgcodec::scram::{Binding, ITERATIONS, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Scram, ScramError, Verifier};
use pgcodec::startup::{Opening, Startup, StartupFramer, StartupMessage, cancel_request, parse_options};
use pgcodec::{Frontend, Limits, ProtocolVersion, Target, Violation};
use postgres_protocol::IsNull;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend as oracle;

// === startup ===

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

fn open(bytes: &[u8]) -> Result<Option<Opening>, Violation> {
    let mut framer = StartupFramer::new(&Limits::default());
    framer.push(bytes)?;
    framer.next()
}

fn startup(bytes: &[u8]) -> Startup {
    match open(bytes) {
        Ok(Some(Opening::Startup(startup))) => startup,
        other => panic!("{other:?}"),
    }
}

const V3: u32 = 0x0003_0000;

#[test]
fn openings_are_told_apart_and_bad_ones_refused() {
    assert_eq!(open(b"\x16\x03"), Ok(Some(Opening::DirectTls)));
    assert_eq!(open(&packet(80_877_103, b"")), Ok(Some(Opening::SslRequest)));
    assert_eq!(open(&packet(80_877_104, b"")), Ok(Some(Opening::GssEncRequest)));
    let key = KeyData { pid: 7, key: Bytes::from_static(b"abcd") };
    assert_eq!(open(&packet(80_877_102, b"\0\0\0\x07abcd")), Ok(Some(Opening::CancelRequest(key))));
    let refused: &[(&str, Vec<u8>, &str)] = &[
        ("length 7", b"\0\0\0\x07".to_vec(), "08P01"),
        ("above the limit, no body", b"\0\0\x27\x11".to_vec(), "54000"),
        ("protocol 2", packet(0x0002_0000, &[0; 288]), "0A000"),
        ("protocol 4", packet(0x0004_0000, b"\0"), "0A000"),
        ("ssl request with a body", packet(80_877_103, b"x"), "08P01"),
        ("cancel with a key of 3", packet(80_877_102, b"\0\0\0\x07abc"), "08P01"),
        ("cancel with a key of 257", packet(80_877_102, &[1; 261]), "08P01"),
        ("no end", packet(V3, b"user\0a\0"), "08P01"),
        ("name without value", packet(V3, b"user\0"), "08P01"),
        ("bytes behind the end", packet(V3, b"user\0a\0\0x"), "08P01"),
        ("twice", packet(V3, b"user\0a\0user\0b\0\0"), "08P01"),
        ("twice in another case", packet(V3, b"TimeZone\0a\0timezone\0b\0\0"), "08P01"),
        ("an option twice", packet(V3, b"_pq_.x\0a\0_pq_.x\0b\0\0"), "08P01"),
        ("not utf-8", packet(V3, b"user\0\xff\0\0"), "22021"),
    ];
    for (what, bytes, code) in refused {
        let Err(refused) = open(bytes) else { panic!("{what}") };
        assert_eq!(refused.sqlstate(), *code, "{what}: {refused}");
    }
}

#[test]
fn versions_are_negotiated() {
    let rows: &[(u32, &[u8], ProtocolVersion, Option<(u16, usize)>)] = &[
        (V3, b"user\0a\0\0", ProtocolVersion::V3_0, None),
        (V3 + 2, b"user\0a\0\0", ProtocolVersion::V3_2, None),
        (V3 + 1, b"user\0a\0\0", ProtocolVersion::V3_0, Some((0, 0))),
        (V3 + 3, b"user\0a\0\0", ProtocolVersion::V3_2, Some((2, 0))),
        (V3 + 9999, b"user\0a\0_pq_.grease\0x\0\0", ProtocolVersion::V3_2, Some((2, 1))),
        (V3, b"user\0a\0_pq_.grease\0x\0\0", ProtocolVersion::V3_0, Some((0, 1))),
    ];
    for (code, body, version, negotiate) in rows {
        let startup = startup(&packet(*code, body));
        let answer = startup.negotiate.as_ref().map(|negotiate| (negotiate.minor, negotiate.options.len()));
        assert_eq!((startup.version, answer), (*version, *negotiate), "{code:x}");
        assert_eq!(startup.parameters, [("user".to_owned(), "a".to_owned())]);
    }
}

#[test]
fn replication_is_flagged_in_every_spelling() {
    for spelling in ["replication\0true", "replication\0database", "Replication\0on", "REPLICATION\0false"] {
        assert!(startup(&packet(V3, format!("user\0a\0{spelling}\0\0").as_bytes())).replication, "{spelling}");
    }
    assert!(!startup(&packet(V3, b"user\0replication\0\0")).replication);
    let parameters = vec![("Replication".to_owned(), "true".to_owned())];
    let ours = StartupMessage { version: ProtocolVersion::V3_0, parameters };
    assert!(LoginFrame::Startup(ours).encode(&mut BytesMut::new()).is_err());
}

#[test]
fn a_startup_split_at_any_byte_is_the_same_and_leaves_the_rest() {
    let bytes = [packet(V3, b"user\0a\0database\0b\0\0"), b"rest".to_vec()].concat();
    for cut in 0..=bytes.len() {
        let mut framer = StartupFramer::new(&Limits::default());
        framer.push(&bytes[..cut]).unwrap();
        let early = framer.next().unwrap();
        framer.push(&bytes[cut..]).unwrap();
        let opening = match early {
            Some(opening) => opening,
            None => framer.next().unwrap().unwrap(),
        };
        assert!(matches!(&opening, Opening::Startup(startup) if startup.get("database") == Some("b")), "{cut}");
        assert_eq!(&framer.into_rest()[..], b"rest");
    }
}

#[test]
fn options_are_settings_or_refused() {
    let rows: &[(&str, Option<&[(&str, &str)]>)] = &[
        ("", Some(&[])),
        ("-c a=b", Some(&[("a", "b")])),
        ("-ca=b --c-d=e", Some(&[("a", "b"), ("c_d", "e")])),
        ("  -c\tTimeZone=UTC\n", Some(&[("timezone", "UTC")])),
        (r"-c search_path=a\ b\\c", Some(&[("search_path", r"a b\c")])),
        ("-c a=b=c", Some(&[("a", "b=c")])),
        ("-c a=", Some(&[("a", "")])),
        ("-c", None),
        ("-c a", None),
        ("-c =b", None),
        ("--a", None),
        ("-- a=b", None),
        ("-d 5", None),
        ("-ea=b", None),
        ("a=b", None),
        ("-c a\u{a0}=b", None),
        ("-c 'a'=b", None),
    ];
    for (text, expected) in rows {
        let found = parse_options(text).ok();
        let expected = expected.map(|all| all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
        assert_eq!(found, expected, "{text:?}");
    }
}

// === SCRAM ===

fn exchange(server: &mut Scram, mechanism: &str, password: &[u8], channel: ChannelBinding) -> Result<(), ScramError> {
    let mut client = ScramSha256::new(password, channel);
    // As it travels: encoded as a login frame, decoded as a password message.
    let mut out = BytesMut::new();
    let first = LoginFrame::SaslInitial {
        mechanism: mechanism.to_owned(),
        data: Secret(Bytes::copy_from_slice(client.message())),
    };
    first.encode(&mut out).unwrap();
    let first = SaslInitialResponse::decode(&Secret(out.split_off(5).freeze())).unwrap();
    let Authentication::SaslContinue { data } = server.initial(&first.mechanism, &first.data.0)? else { panic!() };
    client.update(&data).unwrap();
    let Authentication::SaslFinal { data } = server.finish(client.message())? else { panic!() };
    client.finish(&data).unwrap();
    Ok(())
}

fn verifier(password: &str) -> Verifier {
    Verifier::derive(password.as_bytes(), b"0123456789abcdef", ITERATIONS)
}

#[test]
fn the_right_password_passes_and_a_wrong_one_does_not() {
    let scram = |password| Scram::new(verifier(password), &[7; 18], Binding::None);
    let none = ChannelBinding::unsupported;
    assert_eq!(exchange(&mut scram("secret"), SCRAM_SHA_256, b"secret", none()), Ok(()));
    assert_eq!(exchange(&mut scram("pencil, with p=x"), SCRAM_SHA_256, b"pencil, with p=x", none()), Ok(()));
    assert_eq!(exchange(&mut scram("secret"), SCRAM_SHA_256, b"Secret", none()), Err(ScramError::Proof));
    assert_eq!(exchange(&mut scram("secret"), SCRAM_SHA_256, b"", none()), Err(ScramError::Proof));
    let mock = Verifier::mock(&[1; 32], "nobody", ITERATIONS);
    let mut server = Scram::new(mock, &[7; 18], Binding::None);
    assert_eq!(exchange(&mut server, SCRAM_SHA_256, b"secret", none()), Err(ScramError::Proof));
}

#[test]
fn channel_binding_binds() {
    let scram = |data: &[u8]| Scram::new(verifier("secret"), &[7; 18], Binding::TlsServerEndPoint(data.to_vec()));
    let bound = |data: &[u8]| ChannelBinding::tls_server_end_point(data.to_vec());
    assert_eq!(exchange(&mut scram(b"us"), SCRAM_SHA_256_PLUS, b"secret", bound(b"us")), Ok(()));
    let other = exchange(&mut scram(b"us"), SCRAM_SHA_256_PLUS, b"secret", bound(b"them"));
    assert_eq!(other, Err(ScramError::Binding));
    // `n`: the client does not support it. `y`: it does, and was told that we do not, which is a lie by somebody between.
    let plain = |channel| exchange(&mut scram(b"us"), SCRAM_SHA_256, b"secret", channel);
    assert_eq!(plain(ChannelBinding::unsupported()), Ok(()));
    assert_eq!(plain(ChannelBinding::unrequested()), Err(ScramError::Binding));
    let mut without = Scram::new(verifier("secret"), &[7; 18], Binding::None);
    assert_eq!(exchange(&mut without, SCRAM_SHA_256_PLUS, b"secret", bound(b"us")), Err(ScramError::Mechanism));
    assert_eq!(
        scram(b"us").offer(),
        Authentication::Sasl { mechanisms: vec![SCRAM_SHA_256_PLUS.to_owned(), SCRAM_SHA_256.to_owned()] }
    );
}

#[test]
fn malformed_scram_messages_are_refused() {
    let scram = || Scram::new(verifier("secret"), &[7; 18], Binding::None);
    for first in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=",
        "n,,r=abc",
        "n,,n=a",
        "n,,n=a,r=",
        "n,,n=a,r=a b",
        "n,a=b,n=a,r=abc",
        "x,,n=a,r=abc",
        "n,,m=x,n=a,r=abc",
        "n,,n=a,r=abc,r=d",
        "n,,n=a,r=abc,zz",
        "p=tls-unique,,n=a,r=abc",
        "n,,n=a,r=\u{e9}",
    ] {
        assert!(scram().initial(SCRAM_SHA_256, first.as_bytes()).is_err(), "{first}");
    }
    assert_eq!(scram().initial("SCRAM-SHA-1", b"n,,n=,r=abc"), Err(ScramError::Mechanism));
    let proof = "p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let nonce = &format!("r=abc{}", "BwcH".repeat(6));
    for (last, expected) in [
        (String::new(), ScramError::Malformed("no proof")),
        (format!("c=biws,{nonce}"), ScramError::Malformed("no proof")),
        (format!("{nonce},{proof}"), ScramError::Malformed("no binding")),
        (format!("c=biws,{proof}"), ScramError::Malformed("no nonce")),
        (format!("c=eSws,{nonce},{proof}"), ScramError::Binding),
        (format!("c=biws,r=abc,{proof}"), ScramError::Nonce),
        (format!("c=biws,{nonce},p=AA=="), ScramError::Malformed("the proof has a wrong length")),
        (format!("c=biws,{nonce},p=?"), ScramError::Malformed("the proof is not base64")),
        (format!("c=biws,{nonce},v=x,{proof}"), ScramError::Malformed("an unknown attribute")),
        (format!("c=biws,{nonce},{proof}"), ScramError::Proof),
    ] {
        let mut server = scram();
        assert_eq!(server.finish(last.as_bytes()), Err(ScramError::Order));
        let mut server = scram();
        let first = server.initial(SCRAM_SHA_256, b"n,,n=,r=abc").unwrap();
        assert!(matches!(first, Authentication::SaslContinue { data } if data.starts_with(nonce.as_bytes())));
        assert_eq!(server.finish(last.as_bytes()), Err(expected), "{last}");
        assert_eq!(server.finish(last.as_bytes()), Err(ScramError::Order), "only one try");
    }
}

// === cancel keys ===

#[test]
fn a_minted_key_matches_itself_only() {
    let random = std::array::from_fn(|index| u8::try_from(index).unwrap());
    for (version, length) in [(ProtocolVersion::V3_0, 4), (ProtocolVersion::V3_2, 32)] {
        let key = CancelKey::mint(version, 42, &random);
        let shown = KeyData { pid: 42, key: Bytes::copy_from_slice(&random[..length]) };
        assert!(key.matches(&shown));
        assert!(!key.matches(&KeyData { pid: 43, ..shown.clone() }));
        assert!(!key.matches(&KeyData { key: shown.key.slice(1..), ..shown.clone() }));
        let mut other = shown.key.to_vec();
        other[length - 1] ^= 1;
        assert!(!key.matches(&KeyData { key: other.into(), ..shown }));
        assert!(!format!("{key:?}").contains("00, 01"), "Debug shows no key");
    }
}

// === oracle ===

#[test]
fn encoders_agree_with_postgres_protocol() {
    fn same(ours: &Frontend, theirs: impl FnOnce(&mut BytesMut)) {
        let (mut a, mut b) = (BytesMut::new(), BytesMut::new());
        ours.encode(&mut a).unwrap();
        theirs(&mut b);
        assert_eq!(a, b, "{}", ours.name());
    }
    same(&Frontend::Query { sql: "select 'ä'".into() }, |b| oracle::query("select 'ä'", b).unwrap());
    let parse = Parse { name: "s".into(), sql: "select $1".into(), param_types: vec![23, 0, u32::MAX] };
    same(&Frontend::Parse(parse), |b| oracle::parse("s", "select $1", [23, 0, u32::MAX], b).unwrap());
    let bind = Bind {
        portal: "p".into(),
        statement: "s".into(),
        formats: vec![Format::Text, Format::Binary],
        params: vec![None, Some(Bytes::from_static(b"\0\x01"))],
        result_formats: vec![Format::Binary],
    };
    same(&Frontend::Bind(bind), |b| {
        let values = [None, Some(&b"\0\x01"[..])];
        let put = |value: Option<&[u8]>, out: &mut BytesMut| match value {
            None => Ok(IsNull::Yes),
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
        };
        assert!(oracle::bind("p", "s", [0, 1], values, put, [1], b).is_ok());
    });
    let execute = Execute { portal: "p".into(), max_rows: 5 };
    same(&Frontend::Execute(execute), |b| oracle::execute("p", 5, b).unwrap());
    same(&Frontend::Describe(Target::Portal("p".into())), |b| oracle::describe(b'P', "p", b).unwrap());
    same(&Frontend::Close(Target::Statement("s".into())), |b| oracle::close(b'S', "s", b).unwrap());
    same(&Frontend::CopyFail { message: "no".into() }, |b| oracle::copy_fail("no", b).unwrap());
    same(&Frontend::CopyData(Bytes::from_static(b"1\n")), |b| {
        oracle::CopyData::new(&b"1\n"[..]).unwrap().write(b);
    });
    same(&Frontend::Sync, oracle::sync);
    same(&Frontend::Flush, oracle::flush);
    same(&Frontend::Terminate, oracle::terminate);
    same(&Frontend::CopyDone, oracle::copy_done);

    let login = |frame: LoginFrame| {
        let mut out = BytesMut::new();
        frame.encode(&mut out).unwrap();
        out
    };
    let mut theirs = BytesMut::new();
    oracle::ssl_request(&mut theirs);
    assert_eq!(login(LoginFrame::SslRequest), theirs.split());
    oracle::startup_message([("user", "a"), ("database", "b")], &mut theirs).unwrap();
    let parameters = [("user", "a"), ("database", "b")].map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
    let ours = StartupMessage { version: ProtocolVersion::V3_0, parameters };
    assert_eq!(login(LoginFrame::Startup(ours)), theirs.split());
    oracle::password_message(b"secret", &mut theirs).unwrap();
    assert_eq!(login(LoginFrame::Password(Secret(Bytes::from_static(b"secret")))), theirs.split());
    oracle::sasl_initial_response("M", b"data", &mut theirs).unwrap();
    let initial = LoginFrame::SaslInitial { mechanism: "M".into(), data: Secret(Bytes::from_static(b"data")) };
    assert_eq!(login(initial), theirs.split());
    oracle::sasl_response(b"data", &mut theirs).unwrap();
    assert_eq!(login(LoginFrame::SaslResponse(Secret(Bytes::from_static(b"data")))), theirs.split());
    oracle::cancel_request(7, 0x6162_6364, &mut theirs);
    let mut ours = BytesMut::new();
    cancel_request(&KeyData { pid: 7, key: Bytes::from_static(b"abcd") }, &mut ours).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn a_login_carries_no_text_beyond_its_field() {
    let password = LoginFrame::Password(Secret(Bytes::from_static(b"a\0Q")));
    assert!(password.encode(&mut BytesMut::new()).is_err());
    assert!(!format!("{password:?}").contains('Q'), "Debug shows no secret");
}
