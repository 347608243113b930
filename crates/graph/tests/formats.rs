//! What travels: bounds on both sides, one encoding a value, damage noticed.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use samara_graph::{
    Attributes, Charter, CharterChain, CharterError, CharterHash, CharterRef, Kind, Link,
    LinkError, LinkPeer, Message, NewRecord, PeerAddress, Publishers, Record, RecordError,
    RecordHeader, SecretKey, SignedCharter, WallMs,
    body::{self, Body, ContentRef, Issue, IssueText, Release, Retraction, Share},
    limits,
};
use samara_wire::{ChannelId, ContentId, PeerId, RecordId, VARINT_MAX, WireError, base32};

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

fn charter() -> Charter {
    let mut charter = Charter::open("Nightly", key(1).peer_id(), NOW, [7; 16]);
    charter.roots.extend([key(2).peer_id(), key(3).peer_id()]);
    charter.threshold = 2;
    charter
}

// --- Records ----------------------------------------------------------------

#[test]
fn a_record_says_what_was_signed() {
    let record = new_record().sign(&key(1)).unwrap();
    let read = Record::decode(record.bytes().clone()).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.author(), key(1).peer_id());
    assert_eq!((read.seq(), read.priority()), (300, 3));
    assert_eq!(
        (&read.key()[..], &read.body()[..]),
        (&b"the key"[..], &b"the body"[..])
    );
    assert_eq!(read.id(), RecordId(blake3::hash(record.bytes()).into()));
    let header = read.header().unwrap();
    assert_eq!(RecordHeader::decode(&header.encode()), Ok(header));
}

#[test]
fn a_record_has_64_kib_and_no_byte_more() {
    let with = |body: usize| {
        let body = vec![0; body].into();
        NewRecord {
            body,
            ..new_record()
        }
        .sign(&key(1))
    };
    let room = limits::MAX_RECORD_BYTES - (with(60_000).unwrap().bytes().len() - 60_000);
    assert_eq!(with(room).unwrap().bytes().len(), limits::MAX_RECORD_BYTES);
    assert_eq!(
        with(room + 1),
        Err(RecordError::TooLarge(limits::MAX_RECORD_BYTES + 1))
    );
    let noise = vec![1; limits::MAX_RECORD_BYTES + 1];
    assert!(matches!(
        Record::decode(noise.into()),
        Err(RecordError::TooLarge(_))
    ));
}

#[test]
fn the_fields_of_a_record_have_edges() {
    let sign = |change: fn(&mut NewRecord)| {
        let mut new = new_record();
        change(&mut new);
        new.sign(&key(1)).is_ok()
    };
    assert!(sign(|r| r.key = vec![0; limits::MAX_KEY_BYTES].into()));
    assert!(!sign(|r| r.key = vec![0; limits::MAX_KEY_BYTES + 1].into()));
    assert!(sign(|r| r.seq = VARINT_MAX));
    assert!(!sign(|r| r.seq = VARINT_MAX + 1));
    assert!(sign(|r| r.seq = 1));
    assert!(!sign(|r| r.seq = 0));
    assert!(sign(|r| r.expires = WallMs(r.created.0 + 1)));
    assert!(!sign(|r| r.expires = r.created));
    assert!(sign(|r| r.expires = WallMs(limits::MAX_TIME_MS)));
    assert!(!sign(|r| r.expires = WallMs(limits::MAX_TIME_MS + 1)));
}

#[test]
fn a_record_has_one_encoding() {
    let record = new_record().sign(&key(1)).unwrap();
    let bytes = record.bytes();
    // The kind (70,000: four bytes) begins after format, channel and author; write it in eight.
    let at = 1 + 32 + 32;
    let mut longer = bytes[..at].to_vec();
    longer.extend([0xc0, 0, 0, 0]);
    longer.push(bytes[at] & 0x3f);
    longer.extend(&bytes[at + 1..]);
    let refused = Record::decode(longer.into());
    let field = "kind";
    assert_eq!(
        refused,
        Err(RecordError::Wire(WireError::NonCanonical { field }))
    );
    let trailing = [&bytes[..], &[0]].concat();
    assert!(Record::decode(trailing.into()).is_err());
    let mut newer = bytes.to_vec();
    newer[0] = 2;
    assert_eq!(
        Record::decode(newer.into()),
        Err(RecordError::UnknownFormat(2))
    );
}

// --- Bodies -----------------------------------------------------------------

const CONTENT: ContentRef = ContentRef {
    id: ContentId([4; 32]),
    root_len: 500,
    bytes: 1 << 40,
    files: 12,
};

fn body_of(kind: Kind, key_: &str, body: Vec<u8>) -> Result<Body, WireError> {
    let new = NewRecord {
        kind,
        key: Bytes::copy_from_slice(key_.as_bytes()),
        body: body.into(),
        ..new_record()
    };
    Body::of(&new.sign(&key(1)).unwrap())
}

#[test]
fn bodies_come_back_as_they_were() {
    let release = Release {
        version: "1.2.3-rc.1".into(),
        content: CONTENT,
        notes: "# New\n".into(),
    };
    let issue = |text, attachments| Issue {
        subject: "Grüße".into(),
        text,
        attachments,
    };
    let plain = issue(IssueText::Inline("Hello".into()), None);
    let heavy = issue(IssueText::Content(CONTENT), Some(CONTENT));
    let share = Share { content: CONTENT };
    let retraction = Retraction {
        kind: Kind::RELEASE,
        key: (*b"1.0").into(),
        up_to: 299,
    };
    for (kind, key, bytes, body) in [
        (
            Kind::RELEASE,
            "1.2.3-rc.1",
            release.encode(),
            Body::Release(release.clone()),
        ),
        (Kind::ISSUE, "", plain.encode(), Body::Issue(plain.clone())),
        (Kind::ISSUE, "", heavy.encode(), Body::Issue(heavy.clone())),
        (Kind::SHARE, "", share.encode(), Body::Share(share)),
        (
            Kind::RETRACTION,
            "1.0",
            retraction.encode(),
            Body::Retraction(retraction.clone()),
        ),
        (Kind(70_000), "", b"anything".to_vec(), Body::Unknown),
        (Kind::GRANT, "", b"of tomorrow".to_vec(), Body::Unknown),
        // A newer format of a known kind is carried.
        (Kind::SHARE, "", vec![2, 1, 1], Body::Unknown),
    ] {
        assert_eq!(body_of(kind, key, bytes.clone()), Ok(body));
        let known = kind.0 < 1000 && kind != Kind::GRANT && bytes[0] == 1;
        let trailing = [&bytes[..], &[0]].concat();
        assert_eq!(body_of(kind, key, trailing).is_err(), known, "{kind}");
        let cut = bytes[..bytes.len() - 1].to_vec();
        assert_eq!(body_of(kind, key, cut).is_err(), known, "{kind}");
    }
}

#[test]
fn bodies_have_edges() {
    let markdown = |n: usize| Issue {
        subject: String::new(),
        text: IssueText::Inline("x".repeat(n)),
        attachments: None,
    };
    let issue = |i: Issue| body_of(Kind::ISSUE, "", i.encode()).is_ok();
    assert!(issue(markdown(limits::MAX_INLINE_MARKDOWN)));
    assert!(!issue(markdown(limits::MAX_INLINE_MARKDOWN + 1)));
    let subject = |s: String| Issue {
        subject: s,
        ..markdown(1)
    };
    assert!(issue(subject("s".repeat(limits::MAX_SUBJECT_BYTES))));
    assert!(!issue(subject("s".repeat(limits::MAX_SUBJECT_BYTES + 1))));
    assert!(!issue(subject("two\nlines".into())));
    let share = |content| body_of(Kind::SHARE, "", Share { content }.encode()).is_ok();
    for (change, fits) in [
        (
            ContentRef {
                root_len: limits::MAX_ROOT_BYTES,
                ..CONTENT
            },
            true,
        ),
        (
            ContentRef {
                root_len: limits::MAX_ROOT_BYTES + 1,
                ..CONTENT
            },
            false,
        ),
        (
            ContentRef {
                bytes: limits::MAX_CONTENT_BYTES,
                ..CONTENT
            },
            true,
        ),
        (
            ContentRef {
                bytes: limits::MAX_CONTENT_BYTES + 1,
                ..CONTENT
            },
            false,
        ),
        (
            ContentRef {
                files: limits::MAX_CONTENT_FILES,
                ..CONTENT
            },
            true,
        ),
        (
            ContentRef {
                files: limits::MAX_CONTENT_FILES + 1,
                ..CONTENT
            },
            false,
        ),
    ] {
        assert_eq!(share(change), fits);
    }
    let retracts = |kind| Retraction {
        kind,
        key: (*b"k").into(),
        up_to: 1,
    };
    assert!(body_of(Kind::RETRACTION, "k", retracts(Kind(256)).encode()).is_ok());
    assert!(body_of(Kind::RETRACTION, "k", retracts(Kind(255)).encode()).is_err());
    // Only who signs it leaves.
    assert!(body_of(Kind::RETRACTION, "k", retracts(Kind::GRANT).encode()).is_err());
}

#[test]
fn a_version_is_one_safe_path_component_and_the_records_key() {
    let long = "v".repeat(limits::MAX_KEY_BYTES);
    for good in ["1", "1.0.0", "2024-01 beta", "v1+x", "ü", &long] {
        assert!(body::valid_version(good), "{good}");
    }
    let longer = "v".repeat(limits::MAX_KEY_BYTES + 1);
    for bad in [
        "", ".", "..", "a/b", "a\\b", "C:", ".hidden", "current", "Current", "x\n", "x ", "x.",
        " x", "a*b", "CON", "nul.txt", "com1", &longer,
    ] {
        assert!(!body::valid_version(bad), "{bad:?}");
        let release = Release {
            version: bad.into(),
            content: CONTENT,
            notes: String::new(),
        };
        if bad.len() <= limits::MAX_KEY_BYTES {
            assert!(
                body_of(Kind::RELEASE, bad, release.encode()).is_err(),
                "{bad:?}"
            );
        }
    }
    let release = Release {
        version: "1".into(),
        content: CONTENT,
        notes: String::new(),
    };
    assert!(body_of(Kind::RELEASE, "2", release.encode()).is_err());
}

// --- Charters ---------------------------------------------------------------

#[test]
fn a_charter_is_its_channel() {
    let signed = charter().sign(&[&key(2), &key(1)]).unwrap();
    assert_eq!(SignedCharter::decode(signed.bytes()), Ok(signed.clone()));
    let chain = CharterChain::new(signed.clone()).unwrap();
    let body = charter().encode().unwrap();
    assert_eq!(chain.channel().0, *blake3::hash(&body).as_bytes());
    assert_eq!(Charter::decode(&body), Ok(charter()));
    assert_eq!(CharterChain::decode(&chain.encode()), Ok(chain));
    // Who signed does not change the channel.
    let others = charter().sign(&[&key(3), &key(1)]).unwrap();
    assert_eq!(others.reference(), signed.reference());
}

#[test]
fn a_charter_takes_a_threshold_of_its_roots() {
    let new = |keys: &[&SecretKey]| CharterChain::new(charter().sign(keys).unwrap()).map(|_| ());
    let (got, need, version) = (1, 2, 1);
    let too_few = Err(CharterError::TooFewSignatures { version, got, need });
    assert_eq!(new(&[&key(1), &key(3)]), Ok(()));
    assert_eq!(new(&[&key(1)]), too_few);
    assert_eq!(new(&[&key(1), &key(1)]), too_few, "twice the same");
    assert_eq!(new(&[&key(1), &key(9)]), too_few, "a stranger");
}

#[test]
fn a_new_charter_takes_the_old_roots_and_the_new_ones() {
    let first = charter().sign(&[&key(1), &key(2)]).unwrap();
    let next = Charter {
        version: 2,
        previous: Some(first.reference().hash),
        roots: [key(4).peer_id()].into(),
        threshold: 1,
        ..charter()
    };
    let push = |next: &Charter, keys: &[&SecretKey]| {
        let mut chain = CharterChain::new(first.clone()).unwrap();
        chain.push(next.sign(keys).unwrap()).map(|()| chain)
    };
    let few = |got, need| CharterError::TooFewSignatures {
        version: 2,
        got,
        need,
    };
    assert_eq!(push(&next, &[&key(4)]).unwrap_err(), few(0, 2));
    assert_eq!(push(&next, &[&key(1), &key(2)]).unwrap_err(), few(0, 1));
    let chain = push(&next, &[&key(1), &key(2), &key(4)]).unwrap();
    assert_eq!(chain.current(), &next);
    assert_eq!(
        chain.channel().0,
        first.reference().hash.0,
        "the channel stays"
    );
    assert_eq!(CharterChain::decode(&chain.encode()), Ok(chain));

    let all = [&key(1), &key(2), &key(4)];
    let skipped = Charter {
        version: 3,
        ..next.clone()
    };
    assert_eq!(
        push(&skipped, &all).unwrap_err(),
        CharterError::Fork { version: 3 }
    );
    let elsewhere = Charter {
        previous: Some(CharterHash([0; 32])),
        ..next
    };
    assert_eq!(
        push(&elsewhere, &all).unwrap_err(),
        CharterError::Fork { version: 2 }
    );
}

#[test]
fn charters_have_edges() {
    let ok = |change: &dyn Fn(&mut Charter)| {
        let mut c = charter();
        change(&mut c);
        c.encode().is_ok()
    };
    let many = |n: u16| -> std::collections::BTreeSet<PeerId> {
        let id = |i: u16| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&i.to_be_bytes());
            PeerId(id)
        };
        (0..n).map(id).collect()
    };
    assert!(ok(&|c| c.name = "n".repeat(limits::MAX_NAME_BYTES)));
    assert!(!ok(&|c| c.name = "n".repeat(limits::MAX_NAME_BYTES + 1)));
    assert!(!ok(&|c| c.name = "a\u{7}".into()));
    assert!(ok(&|c| c.roots = many(limits::MAX_ROOTS as u16)));
    assert!(!ok(&|c| c.roots = many(limits::MAX_ROOTS as u16 + 1)));
    assert!(ok(&|c| c.threshold = 3) && !ok(&|c| c.threshold = 4) && !ok(&|c| c.threshold = 0));
    assert!(ok(
        &|c| c.publishers = Publishers::Named(many(limits::MAX_PUBLISHERS as u16))
    ));
    assert!(!ok(
        &|c| c.publishers = Publishers::Named(many(limits::MAX_PUBLISHERS as u16 + 1))
    ));
    assert!(ok(&|c| c.limits.record_bytes = 1024) && !ok(&|c| c.limits.record_bytes = 1023));
    assert!(!ok(
        &|c| c.limits.record_bytes = limits::MAX_RECORD_BYTES as u32 + 1
    ));
    assert!(ok(&|c| c.limits.records_total = limits::MAX_CHANNEL_RECORDS));
    assert!(!ok(
        &|c| c.limits.records_total = limits::MAX_CHANNEL_RECORDS + 1
    ));
    assert!(!ok(&|c| c.limits.records_per_author = 0));
    assert!(ok(
        &|c| c.limits.lifetime_ms = limits::MAX_LIFETIME.as_millis() as u64
    ));
    assert!(!ok(
        &|c| c.limits.lifetime_ms = limits::MAX_LIFETIME.as_millis() as u64 + 1
    ));
    assert!(ok(&|c| c.chunk_bits = Some(14)) && ok(&|c| c.chunk_bits = Some(20)));
    assert!(!ok(&|c| c.chunk_bits = Some(13)) && !ok(&|c| c.chunk_bits = Some(21)));
    assert!(!ok(&|c| c.version = 0) && !ok(&|c| c.previous = Some(CharterHash([0; 32]))));
    // The largest there can be fits.
    let mut largest = charter();
    largest.name = "n".repeat(limits::MAX_NAME_BYTES);
    largest.publishers = Publishers::Named(many(limits::MAX_PUBLISHERS as u16));
    largest.roots = (1..=16).map(|n| key(n).peer_id()).collect();
    let keys: Vec<_> = (1..=32).map(key).collect();
    let signed = largest.sign(&keys.iter().collect::<Vec<_>>()).unwrap();
    assert!(signed.bytes().len() <= limits::MAX_CHARTER_BYTES);
    assert!(SignedCharter::decode(signed.bytes()).is_ok());
}

#[test]
fn a_damaged_charter_is_none() {
    let signed = charter().sign(&[&key(1), &key(2)]).unwrap();
    for at in 0..signed.bytes().len() {
        let mut bytes = signed.bytes().to_vec();
        bytes[at] ^= 1;
        assert!(SignedCharter::decode(&bytes).is_err(), "byte {at}");
        assert!(
            SignedCharter::decode(&signed.bytes()[..at]).is_err(),
            "cut at {at}"
        );
    }
}

// --- Links ------------------------------------------------------------------

fn reference() -> CharterRef {
    CharterRef {
        version: 3,
        hash: CharterHash([8; 32]),
    }
}

fn link(peers: usize, addrs: usize) -> Link {
    let peers: Vec<_> = (0..peers as u8)
        .map(|n| LinkPeer {
            peer: PeerId([n; 32]),
            addrs: (0..addrs as u16)
                .map(|i| match i % 2 {
                    0 => SocketAddr::from(([192, 168, n, 1], 4000 + i)),
                    _ => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, n.into(), 1], 4000 + i)),
                })
                .collect(),
        })
        .collect();
    Link::new(ChannelId([1; 32]), reference(), &peers)
}

#[test]
fn a_link_is_one_plain_word_that_says_it_all() {
    for (peers, addrs) in [(0, 0), (1, 1), (3, 8), (16, 1)] {
        let link = link(peers, addrs);
        let text = link.to_string();
        assert!(text.starts_with("samara:"));
        assert!(
            text[7..]
                .bytes()
                .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
        );
        assert_eq!(text.parse(), Ok(link.clone()));
        assert_eq!(format!("  {text}\n").parse(), Ok(link.clone()));
        // As QR codes and some mail programs have it.
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(link.clone()));
        assert_eq!(
            (link.channel(), link.charter()),
            (ChannelId([1; 32]), reference())
        );
        assert_eq!(link.peers().len(), peers);
        assert!(link.peers().iter().all(|p| p.addrs.len() == addrs));
    }
}

#[test]
fn a_link_with_too_many_addresses_keeps_a_way_to_each_peer() {
    let link = link(20, 8);
    assert!(link.to_string().len() <= limits::MAX_LINK_CHARS);
    assert_eq!(link.peers().len(), limits::MAX_LINK_PEERS);
    assert!(link.peers().iter().all(|p| !p.addrs.is_empty()));
    assert_eq!(link.to_string().parse(), Ok(link));
}

#[test]
fn every_change_of_a_character_is_damage() {
    let text = link(2, 3).to_string();
    for at in 7..text.len() {
        for c in ' '..='~' {
            let mut changed = text.clone().into_bytes();
            if changed[at].eq_ignore_ascii_case(&(c as u8)) || (at == text.len() - 1 && c == ' ') {
                continue;
            }
            changed[at] = c as u8;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(changed.parse::<Link>(), Err(LinkError::Damaged), "{at} {c}");
        }
        assert_eq!(
            text[..at].parse::<Link>(),
            Err(LinkError::Damaged),
            "cut at {at}"
        );
        let without = format!("{}{}", &text[..at], &text[at + 1..]);
        assert_eq!(
            without.parse::<Link>(),
            Err(LinkError::Damaged),
            "without {at}"
        );
    }
    assert_eq!(
        format!("{text}{text}").parse::<Link>(),
        Err(LinkError::Damaged)
    );
    let long = format!("samara:{}", "a".repeat(limits::MAX_LINK_CHARS));
    assert_eq!(long.parse::<Link>(), Err(LinkError::Damaged));
}

#[test]
fn what_is_no_link_is_told_from_a_damaged_and_from_a_newer_one() {
    let text = link(1, 1).to_string();
    for foreign in [
        "",
        "magnet:?xt=urn:btih:abc",
        "https://example.org/",
        &text[1..],
        &text[7..],
    ] {
        assert_eq!(foreign.parse::<Link>(), Err(LinkError::NotALink));
    }
    let remade = |change: fn(&mut Vec<u8>)| {
        let mut bytes = base32().decode(&text.as_bytes()[7..]).unwrap();
        bytes.truncate(bytes.len() - 4);
        change(&mut bytes);
        let sum = blake3::derive_key("samara link checksum v1", &bytes);
        bytes.extend(&sum[..4]);
        format!("samara:{}", base32().encode(&bytes)).parse::<Link>()
    };
    assert!(remade(|_| ()).is_ok());
    assert_eq!(remade(|b| b[0] = 2), Err(LinkError::UnknownVersion(2)));
    assert_eq!(remade(|b| b[1] = 4), Err(LinkError::UnknownFlags(4)));
    assert!(matches!(
        remade(|b| b.push(0)),
        Err(LinkError::Malformed(_))
    ));
    assert!(matches!(
        remade(|b| b.truncate(50)),
        Err(LinkError::Malformed(_))
    ));
}

// --- Addresses and messages -------------------------------------------------

#[test]
fn signed_addresses_leave_out_what_nobody_can_dial() {
    let listed = [
        "0.0.0.0:1",
        "10.0.0.1:0",
        "224.0.0.1:5",
        "255.255.255.255:5",
        "10.0.0.1:5",
        "[::ffff:10.0.0.1]:5",
        "[::]:5",
        "[ff02::1]:5",
        "[fe80::1%3]:5",
        "127.0.0.1:5",
    ];
    let listed: Vec<SocketAddr> = listed.iter().map(|a| a.parse().unwrap()).collect();
    let address = PeerAddress::sign(&key(1), &listed, NOW);
    let kept: Vec<_> = address.addrs().iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["10.0.0.1:5", "[fe80::1]:5", "127.0.0.1:5"]);
    assert_eq!(PeerAddress::decode(&address.encode()), Ok(address.clone()));
    let many: Vec<SocketAddr> = (1..=9)
        .map(|n| SocketAddr::from(([10, 0, 0, n], 5)))
        .collect();
    assert_eq!(
        PeerAddress::sign(&key(1), &many, NOW).addrs().len(),
        limits::MAX_ADDRESSES
    );
    for at in 0..address.encode().len() {
        let mut bytes = address.encode();
        bytes[at] ^= 1;
        assert!(PeerAddress::decode(&bytes).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn nearly_right_charters_have_one_encoding(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut bytes = charter().encode().unwrap();
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Ok(charter) = Charter::decode(&bytes) {
            prop_assert_eq!(charter.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn links_of_noise_are_damaged(noise in "[a-z2-7]{0,200}") {
        let parsed = format!("samara:{noise}").parse::<Link>();
        prop_assert_eq!(parsed, Err(LinkError::Damaged));
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(noise);
        let _ = Message::decode(&bytes);
        let _ = Record::decode(bytes.clone());
        let _ = RecordHeader::decode(&bytes);
        let _ = CharterChain::decode(&bytes);
        let _ = PeerAddress::decode(&bytes);
    }
}
