//! Typed attributes: bounds on both sides, one encoding, under the signature.

use std::time::Duration;

use bytes::Bytes;
use samara_graph::{
    AttributeError, Attributes, Domain, Kind, NewRecord, Record, RecordError, RecordHeader,
    SecretKey, Value, WallMs, limits,
};
use samara_wire::{ChannelId, WireError};

const NOW: WallMs = WallMs(1_735_689_600_000);

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

fn new_record() -> NewRecord {
    NewRecord {
        channel: ChannelId([2; 32]),
        kind: Kind(70_000),
        seq: 300,
        created: NOW,
        expires: NOW.after(Duration::from_secs(60)),
        priority: 3,
        key: Bytes::from_static(b"the key"),
        attributes: Attributes::default(),
        body: Bytes::from_static(b"the body"),
    }
}

fn attributes(all: &[(&str, Value)]) -> Result<Attributes, AttributeError> {
    Attributes::new(all.iter().map(|(n, v)| ((*n).to_owned(), v.clone())))
}

#[test]
fn attributes_are_signed_and_come_back_in_order() {
    let all = attributes(&[
        ("z", Value::Bool(true)),
        ("count", Value::Int(i64::MIN)),
        ("at", Value::Time(NOW)),
        ("who.is-it_2", Value::Text("Grüße".into())),
        ("raw", Value::Bytes([0, 255].into())),
    ])
    .unwrap();
    let new = NewRecord {
        attributes: all.clone(),
        ..new_record()
    };
    let record = new.sign(&key(1)).unwrap();
    let read = Record::decode(record.bytes().clone()).unwrap();
    assert_eq!(read.attributes(), &all);
    let names: Vec<_> = read.attributes().iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["at", "count", "raw", "who.is-it_2", "z"]);
    assert_eq!(all.get("count"), Some(&Value::Int(i64::MIN)));
    assert_eq!(all.get("counts"), None);
    let header = read.header().unwrap();
    assert_eq!(header.attributes, all);
    assert_eq!(RecordHeader::decode(&header.encode()), Ok(header));
}

#[test]
fn attributes_have_edges() {
    let named = |name: &str| attributes(&[(name, Value::Bool(false))]);
    assert!(named(&"n".repeat(limits::MAX_ATTRIBUTE_NAME)).is_ok());
    let long = "n".repeat(limits::MAX_ATTRIBUTE_NAME + 1);
    for bad in ["", "A", "1a", "-a", "a b", "ä", &long] {
        assert_eq!(named(bad), Err(AttributeError::Name(bad.into())));
    }
    let max = limits::MAX_ATTRIBUTE_BYTES;
    for (value, fits) in [
        (Value::Text("t".repeat(max).into()), true),
        (Value::Text("t".repeat(max + 1).into()), false),
        (Value::Bytes(vec![0; max].into()), true),
        (Value::Bytes(vec![0; max + 1].into()), false),
        (Value::Time(WallMs(limits::MAX_TIME_MS)), true),
        (Value::Time(WallMs(limits::MAX_TIME_MS + 1)), false),
    ] {
        assert_eq!(attributes(&[("a", value)]).is_ok(), fits);
    }
    let many = |n| Attributes::new((0..n).map(|i| (format!("a{i}"), Value::Int(i as i64))));
    assert!(many(limits::MAX_ATTRIBUTES).is_ok());
    let more = many(limits::MAX_ATTRIBUTES + 1);
    assert_eq!(more, Err(AttributeError::TooMany));
    let twice = [("a", Value::Int(1)), ("a", Value::Int(2))];
    assert_eq!(attributes(&twice), Err(AttributeError::Twice("a".into())));
}

/// The bytes of a record whose attributes are `raw`, correctly signed.
fn with_attributes(raw: &[u8]) -> Result<Record, RecordError> {
    let bytes = new_record().sign(&key(1)).unwrap().bytes().to_vec();
    // What follows the key and precedes an empty list, the body and the signature.
    let at = bytes.len() - 64 - (1 + b"the body".len()) - 1;
    assert_eq!(bytes[at], 0);
    let end = bytes.len() - 64;
    let signed = [&bytes[..at], raw, &bytes[at + 1..end]].concat();
    let signature = key(1).sign(Domain::Record, &signed);
    Record::decode([&signed[..], &signature.0].concat().into())
}

#[test]
fn attributes_have_one_encoding() {
    assert!(with_attributes(&[0]).is_ok());
    assert!(with_attributes(&[2, 1, b'a', 0, 1, 1, b'b', 0, 0]).is_ok());
    let (name, value) = ("attribute name", "attribute value");
    for (raw, refused) in [
        // Out of order, and twice.
        (
            &[2, 1, b'b', 0, 1, 1, b'a', 0, 0][..],
            WireError::NonCanonical { field: name },
        ),
        (
            &[2, 1, b'a', 0, 1, 1, b'a', 0, 0],
            WireError::NonCanonical { field: name },
        ),
        (&[1, 1, b'A', 0, 1], WireError::Invalid { field: name }),
        (&[1, 0, 0, 1], WireError::Invalid { field: name }),
        (&[1, 1, b'a', 0, 2], WireError::Invalid { field: value }),
        (
            &[1, 1, b'a', 5, 0],
            WireError::Invalid {
                field: "attribute type",
            },
        ),
        (
            &[1, 1, b'a', 3, 1, 0xff],
            WireError::Invalid { field: value },
        ),
        (
            &[17],
            WireError::TooLarge {
                field: "attributes",
                got: 17,
                max: 16,
            },
        ),
    ] {
        assert_eq!(with_attributes(raw), Err(RecordError::Wire(refused)));
    }
}
