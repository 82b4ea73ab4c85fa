use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Deserialize, Debug, PartialEq)]
struct Sample {
    text: String,
    list: Vec<u32>,
}

fn json(text: &str) -> Payload {
    Payload::new(Format::Json, text.to_owned())
}

#[test]
fn broken_json_is_malformed_with_its_position() {
    for text in [
        "{",
        "",
        "{\"text\":\"\u{0}\"}",
        "[1,2",
        "{\"text\":3,",
        "{} x",
        "nul",
    ] {
        let error = json(text).decode::<Sample>().unwrap_err();
        assert!(
            matches!(error, DecodeError::Malformed { .. }),
            "{text}: {error}"
        );
        assert!(error.to_string().contains("line"), "{text}: {error}");
    }
}

#[test]
fn invalid_utf8_is_malformed() {
    let payload = Payload::new(Format::Json, &b"{\"text\":\"\xff\"}"[..]);
    assert!(matches!(
        payload.decode::<Sample>(),
        Err(DecodeError::Malformed { .. })
    ));
}

#[test]
fn a_wrong_shape_names_the_place() {
    let error = json(r#"{"text":"a","list":[1,"x"]}"#)
        .decode::<Sample>()
        .unwrap_err();
    let DecodeError::Invalid(fault) = error else {
        panic!("{error}")
    };
    assert_eq!(fault.pointer, "/list/1");
    let packed = Payload::encode(&json!({"text": "a", "list": [1, "x"]}), Format::MsgPack).unwrap();
    let error = packed.decode::<Sample>().unwrap_err();
    let DecodeError::Invalid(fault) = error else {
        panic!("{error}")
    };
    assert_eq!(fault.pointer, "/list/1");
}

#[test]
fn a_fault_repeats_little_of_a_giant_key() {
    let body = format!(r#"{{"{}":["x"]}}"#, "\u{e9}".repeat(1 << 20));
    let decoded = json(&body).decode::<std::collections::BTreeMap<String, Vec<u8>>>();
    let Err(DecodeError::Invalid(fault)) = decoded else {
        panic!("a string is no number")
    };
    assert!((2..2 * FAULT_BYTES_MAX).contains(&fault.pointer.len()));
}

#[test]
fn nesting_is_limited_in_both_formats() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(matches!(
        json(&deep).decode::<Value>(),
        Err(DecodeError::Malformed { .. })
    ));
    assert!(matches!(
        json(&deep).transcode(Format::MsgPack),
        Err(DecodeError::Malformed { .. })
    ));
    let packed = Payload::new(Format::MsgPack, vec![0x91; 100_000]);
    assert!(matches!(
        packed.decode::<Value>(),
        Err(DecodeError::Malformed { .. })
    ));
    assert!(matches!(
        packed.transcode(Format::Json),
        Err(DecodeError::Malformed { .. })
    ));
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    // array32 and bin32 and str32 that announce 4 GiB and bring nothing.
    for prefix in [
        [0xdd_u8, 0xff, 0xff, 0xff, 0xff],
        [0xc6, 0xff, 0xff, 0xff, 0xff],
    ] {
        let payload = Payload::new(Format::MsgPack, prefix.to_vec());
        assert!(matches!(
            payload.decode::<Value>(),
            Err(DecodeError::Malformed { .. })
        ));
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = rmp_serde::to_vec(&1).unwrap();
    bytes.push(0);
    let payload = Payload::new(Format::MsgPack, bytes);
    assert!(matches!(
        payload.decode::<u8>(),
        Err(DecodeError::Malformed { .. })
    ));
    assert!(payload.transcode(Format::Json).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300_f64..1e300).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_round_trip_in_both_formats(value in any_value()) {
        for format in [Format::Json, Format::MsgPack] {
            let payload = Payload::encode(&value, format).unwrap();
            prop_assert_eq!(&payload.decode::<Value>().unwrap(), &value);
        }
    }

    #[test]
    fn transcoding_keeps_the_value(value in any_value()) {
        let packed = Payload::encode(&value, Format::Json).unwrap().transcode(Format::MsgPack).unwrap();
        prop_assert_eq!(&packed.decode::<Value>().unwrap(), &value);
        let back = packed.transcode(Format::Json).unwrap();
        prop_assert_eq!(&back.decode::<Value>().unwrap(), &value);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::MsgPack] {
            let payload = Payload::new(format, bytes.clone());
            let _ = payload.decode::<Sample>();
            let _ = payload.decode::<Value>();
            for other in [Format::Json, Format::MsgPack] {
                let _ = payload.clone().transcode(other);
            }
        }
    }
}
