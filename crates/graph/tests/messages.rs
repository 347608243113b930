//! What two graphs say to each other: one encoding a message, bounds on both sides.

use bytes::Bytes;
use proptest::prelude::*;
use samara_graph::{
    Charter, Kind, Message, NewRecord, PeerAddress, SecretKey, Summary, WallMs, limits,
};
use samara_wire::{ChannelId, RecordId};

const NOW: WallMs = WallMs(1_735_689_600_000);

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

fn messages() -> Vec<Message> {
    let address = PeerAddress::sign(&key(1), &["10.0.0.1:5".parse().unwrap()], NOW);
    let summary = Summary {
        count: 5,
        fingerprint: [6; 16],
    };
    let ids = vec![RecordId([1; 32]), RecordId([2; 32])];
    let charter = Charter::open("Nightly", key(1).peer_id(), NOW, [7; 16]);
    let signed = charter.sign(&[&key(1)]).unwrap();
    let record = NewRecord {
        channel: ChannelId([2; 32]),
        kind: Kind(70_000),
        seq: 1,
        created: NOW,
        expires: WallMs(NOW.0 + 1),
        priority: 0,
        key: Bytes::new(),
        attributes: samara_graph::Attributes::default(),
        body: Bytes::new(),
    };
    let record = record.sign(&key(1)).unwrap();
    vec![
        Message::Hello {
            charter: None,
            address: None,
            summary,
        },
        Message::Hello {
            charter: Some(signed.reference()),
            address: Some(address.clone()),
            summary,
        },
        Message::CharterRequest { after: 7 },
        Message::Charters(vec![signed.bytes().clone()]),
        Message::Record(record.bytes().clone()),
        Message::Have(ids.clone()),
        Message::Request(ids.clone()),
        Message::Gone(ids.clone()),
        Message::Summary(summary),
        Message::Reconcile {
            session: 9,
            bytes: Bytes::from_static(b"abc"),
        },
        Message::Reconciled {
            session: 9,
            bytes: Bytes::from_static(b"abc"),
        },
        Message::Peers(vec![address.clone()]),
        Message::Join,
        Message::JoinWalk {
            ttl: 6,
            address: address.clone(),
        },
        Message::Neighbour { urgent: true },
        Message::Disconnect,
        Message::Shuffle {
            walk: 3,
            ttl: 4,
            peers: vec![address.clone()],
        },
        Message::Shuffled {
            walk: 3,
            peers: vec![address],
        },
        Message::IHave(ids.clone()),
        Message::Graft(ids),
        Message::Prune,
    ]
}

#[test]
fn messages_come_back_as_they_were() {
    for message in messages() {
        assert_eq!(Message::decode(&message.encode().into()), Ok(message));
    }
    assert!(Message::decode(&Bytes::new()).is_err());
    assert!(Message::decode(&Bytes::from_static(&[20])).is_err());
}

#[test]
fn messages_have_edges() {
    let decodes = |m: Message| Message::decode(&m.encode().into()).is_ok();
    let ids = |n| vec![RecordId([1; 32]); n];
    assert!(decodes(Message::Have(ids(limits::MAX_IDS))));
    assert!(!decodes(Message::Have(ids(limits::MAX_IDS + 1))));
    let bytes = |n: usize| Bytes::from(vec![0; n]);
    assert!(decodes(Message::Record(bytes(limits::MAX_RECORD_BYTES))));
    assert!(!decodes(Message::Record(bytes(
        limits::MAX_RECORD_BYTES + 1
    ))));
    let step = |n| Message::Reconcile {
        session: 1,
        bytes: bytes(n),
    };
    assert!(decodes(step(limits::MAX_RECONCILE_BYTES)));
    assert!(!decodes(step(limits::MAX_RECONCILE_BYTES + 1)));
    let address = PeerAddress::sign(&key(1), &["10.0.0.1:5".parse().unwrap()], NOW);
    let peers = |n| Message::Peers(vec![address.clone(); n]);
    assert!(decodes(peers(limits::MAX_PEERS_IN_MESSAGE)));
    assert!(!decodes(peers(limits::MAX_PEERS_IN_MESSAGE + 1)));
    let walk = |ttl| Message::JoinWalk {
        ttl,
        address: address.clone(),
    };
    assert!(decodes(walk(limits::WALK_STEPS)));
    assert!(!decodes(walk(limits::WALK_STEPS + 1)));
    let shuffle = |ttl, n| Message::Shuffle {
        walk: 1,
        ttl,
        peers: vec![address.clone(); n],
    };
    assert!(decodes(shuffle(
        limits::WALK_STEPS,
        limits::MAX_PEERS_IN_MESSAGE
    )));
    assert!(!decodes(shuffle(limits::WALK_STEPS + 1, 1)));
    assert!(!decodes(shuffle(1, limits::MAX_PEERS_IN_MESSAGE + 1)));
    let charters = |n: usize, len| Message::Charters(vec![bytes(len); n]);
    assert!(decodes(charters(2, limits::MAX_CHARTER_BYTES)));
    assert!(!decodes(charters(1, limits::MAX_CHARTER_BYTES + 1)));
    assert!(
        !decodes(charters(9, limits::MAX_CHARTER_BYTES)),
        "larger than any message"
    );
}

proptest! {
    /// Whatever decodes is the one encoding of its value; nothing panics.
    #[test]
    fn nearly_right_messages_have_one_encoding(
        which in 0usize..21,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = messages()[which].encode();
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if changes.len() == 3 {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(message) = Message::decode(&bytes.clone().into()) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}
