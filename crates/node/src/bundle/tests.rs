use samara_graph::{
    Attributes, Charter, CharterChain, Kind, NewRecord, SecretKey, WallMs, limits as graph,
};
use samara_wire::{ContentId, Writer};

use super::{
    read::{MAX_CHUNK, MAX_HEAD, MAX_PAGE},
    *,
};

fn key() -> SecretKey {
    SecretKey::from_bytes(&[1; 32])
}

fn head() -> Head {
    let charter = Charter::open("b", key().peer_id(), WallMs(1), [0; 16]);
    let chain = CharterChain::new(charter.sign(&[&key()]).unwrap()).unwrap();
    Head {
        channel: chain.channel(),
        exporter: key().peer_id(),
        created: 5,
        charters: vec![chain.versions()[0].bytes().clone()],
    }
}

fn record(seq: u64) -> bytes::Bytes {
    let new = NewRecord {
        channel: head().channel,
        kind: Kind(70_000),
        seq,
        created: WallMs(1),
        expires: WallMs(2),
        priority: 0,
        key: bytes::Bytes::new(),
        attributes: Attributes::default(),
        body: bytes::Bytes::new(),
    };
    new.sign(&key()).unwrap().bytes().clone()
}

fn bundle() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut w = BundleWriter::begin(&mut bytes, &head()).unwrap();
    w.record(&record(1)).unwrap();
    w.record(&record(2)).unwrap();
    w.content(&ContentId([7; 32])).unwrap();
    w.page(b"root").unwrap();
    w.page(b"page").unwrap();
    w.chunk(b"chunk").unwrap();
    let totals = w.end(&key()).unwrap();
    assert_eq!(
        totals,
        Totals {
            records: 2,
            contents: 1
        }
    );
    bytes
}

fn check(bytes: &[u8]) -> Result<(Head, Totals), BundleError> {
    BundleReader::open(bytes)?.check()
}

#[test]
fn what_was_written_is_read() {
    let bytes = bundle();
    let mut r = BundleReader::open(&bytes[..]).unwrap();
    assert_eq!(r.head(), &head());
    for expected in [
        Item::Record(record(1)),
        Item::Record(record(2)),
        Item::Content(ContentId([7; 32])),
        Item::Page("root".into()),
        Item::Page("page".into()),
        Item::Chunk("chunk".into()),
        Item::End(Totals {
            records: 2,
            contents: 1,
        }),
    ] {
        assert_eq!(r.next().unwrap(), expected);
    }
    assert_eq!(check(&bytes).unwrap().0, head());
}

#[test]
fn a_file_cut_anywhere_is_cut_short() {
    let bytes = bundle();
    for end in 0..bytes.len() {
        let error = check(&bytes[..end]).unwrap_err();
        assert!(matches!(error, BundleError::Truncated), "{end}: {error}");
    }
}

#[test]
fn a_file_with_any_bit_flipped_is_refused() {
    let bytes = bundle();
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let error = check(&flipped).unwrap_err();
            assert!(!matches!(error, BundleError::Io(_)), "{at}: {error}");
        }
    }
}

#[test]
fn other_files_are_told_from_bundles() {
    for foreign in [&b"PK\x03\x04"[..], b"samara identity", &[0xff; 100]] {
        let error = check(foreign).unwrap_err();
        assert!(matches!(error, BundleError::NotABundle), "{error}");
    }
    let mut longer = bundle();
    longer.push(0);
    let error = check(&longer).unwrap_err();
    assert!(matches!(
        error,
        BundleError::Damaged("something follows its end")
    ));
}

#[test]
fn lengths_are_refused_before_they_are_believed() {
    let head = {
        let mut bytes = Vec::new();
        BundleWriter::begin(&mut bytes, &head()).unwrap();
        bytes
    };
    let claims = |before: &[&[u8]], kind: u64, length: u64| {
        let mut w = Writer::new();
        w.raw(&head);
        before.iter().for_each(|bytes| w.raw(bytes));
        w.varint(kind);
        w.varint(length);
        check(&w.finish()).unwrap_err()
    };
    let content: &[u8] = &[&[CONTENT as u8, 32][..], &[7; 32]].concat();
    let page: &[u8] = &[PAGE as u8, 1, 0];
    for (before, kind, max) in [
        (&[][..], RECORD, graph::MAX_RECORD_BYTES as u64),
        (&[], CONTENT, 32),
        (&[content], PAGE, MAX_PAGE),
        (&[content, page], CHUNK, MAX_CHUNK),
    ] {
        assert!(matches!(claims(before, kind, max), BundleError::Truncated));
        let refused = claims(before, kind, max + 1);
        assert!(
            matches!(refused, BundleError::TooLarge { .. }),
            "{kind}: {refused}"
        );
    }
    for length in [63, 81, u64::MAX >> 2] {
        let refused = claims(&[], END, length);
        assert!(
            matches!(refused, BundleError::Damaged("its end")),
            "{refused}"
        );
    }
    let mut w = Writer::new();
    w.raw(MAGIC);
    w.varint(HEAD);
    w.varint(MAX_HEAD + 1);
    let refused = check(&w.finish()).unwrap_err();
    assert!(matches!(refused, BundleError::TooLarge { .. }), "{refused}");
}

#[test]
fn parts_have_their_places() {
    type Write = fn(&mut BundleWriter<&mut Vec<u8>>) -> io::Result<()>;
    let record: Write = |w| w.record(b"r");
    let content: Write = |w| w.content(&ContentId([0; 32]));
    let page: Write = |w| w.page(b"p");
    let chunk: Write = |w| w.chunk(b"c");
    for (parts, fits) in [
        (&[][..], true),
        (
            &[record, content, page, content, page, page, chunk, chunk],
            true,
        ),
        (&[page], false),
        (&[chunk], false),
        (&[content], false),
        (&[content, chunk], false),
        (&[content, content], false),
        (&[content, page, record], false),
        (&[content, page, chunk, page], false),
    ] {
        let mut bytes = Vec::new();
        let mut w = BundleWriter::begin(&mut bytes, &head()).unwrap();
        parts.iter().for_each(|part| part(&mut w).unwrap());
        w.end(&key()).unwrap();
        assert_eq!(check(&bytes).is_ok(), fits);
    }
}

#[test]
fn only_the_exporter_can_sign_it() {
    let mut bytes = Vec::new();
    let w = BundleWriter::begin(&mut bytes, &head()).unwrap();
    w.end(&SecretKey::from_bytes(&[2; 32])).unwrap();
    let error = check(&bytes).unwrap_err();
    assert!(matches!(error, BundleError::BadSignature), "{error}");
}
