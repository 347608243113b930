//! The test vectors of docs/protocol.md: if one of these fails, a node of today does
//! not understand one of yesterday.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use samara_graph::{
    Attributes, Charter, CharterChain, Kind, Link, LinkPeer, Message, NewRecord, PeerAddress,
    Record, SecretKey, SignedCharter, Summary, Value, WallMs,
    body::{ContentRef, Share},
};
use samara_wire::ContentId;

/// 2025-01-01T00:00:00Z.
const CREATED: WallMs = WallMs(1_735_689_600_000);

const SEED: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const PEER_ID: &str = "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa";
const CHARTER_BODY: &str = "010106676f6c64656e018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c010000018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c800100008000400080010000c00000497c5ecc0000c00001941f297c0011111111111111111111111111111111";
const CHARTER: &str = "407b010106676f6c64656e018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c010000018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c800100008000400080010000c00000497c5ecc0000c00001941f297c0011111111111111111111111111111111018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c6e3330941589eccdb6278e07bc44e29164ca036f303d923afe584bd8b535c2768ec83a242da85106259ad1cb20685e92f606b13d588b22eeeb8d598a07203303";
const CHANNEL_ID: &str = "qvu6zb2uqpbua7w65awmrfo4rxlk22crzgvtk7cmq7glkkulawka";
const RECORD: &str = "018569ec875483c3407edee82cc895dc8dd6ad6851c9ab357c4c87ccb52a8b05948a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c410201c00001941f297c00c0000194244fd80000000028012222222222222222222222222222222222222222222222222222222222222222407b8006f85501d66dbc8ee54ac0e5add40d8b3fa7e893f3867c0188b696a10be879f6ad543f12e7892b03ae23e79a9adcfbd6b4b8b147655f0be6d5c2c257245b36ee477aa70f";
const RECORD_ID: &str = "u2n2gkr7zv2ip4ma5kinxqz6nfzz6nyoriixfnkgxzwidwpvfcjq";
const ANNOTATED: &str = "018569ec875483c3407edee82cc895dc8dd6ad6851c9ab357c4c87ccb52a8b05948a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c410201c00001941f297c00c0000194244fd80000000505636f756e7401feffffffffffffff04666c61670001046c616e67030264650372617704033333330573696e636502c00001941f297c0028012222222222222222222222222222222222222222222222222222222222222222407b8006f855017536df5cb47c7ec446fc8281308506da7da6f7d0999221150ff01f7ca7d882b20d342d765c39842f3d7038dccd76483ac126ba49675c8150d45963d5b00cd60e";
const ADDRESS: &str = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0204c000020110920620010db80000000000000000000000011092c00001941f297c00d53327b5cb554cfcdb98504b1c0787a82df8a6ea75e9c9577d4bb4792f2410d6eb791f522269fc481adde3829ba8d83033fc10ab0f761ac86e98024f9ec1aa08";
const LINK: &str = "samara:aeaik2pmq5kihq2ap3poqlgisxoi3vvnnbi4tkzvprgiptfvfkfqlfabqvu6zb2uqpbua7w65awmrfo4rxlk22crzgvtk7cmq7glkkulawkadcui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324aicmaaacaeijebraaeg3qaaaaaaaaaaaaaaaaaabccjbubrase";
const HELLO: &str = "0001018569ec875483c3407edee82cc895dc8dd6ad6851c9ab357c4c87ccb52a8b0594000000000000000000000000000000000000000000";

fn key() -> SecretKey {
    let seed = HEXLOWER.decode(SEED.as_bytes()).unwrap();
    SecretKey::from_bytes(&seed.try_into().unwrap())
}

fn charter() -> Charter {
    Charter::open("golden", key().peer_id(), CREATED, [0x11; 16])
}

fn chain() -> CharterChain {
    CharterChain::new(charter().sign(&[&key()]).unwrap()).unwrap()
}

fn new_share() -> NewRecord {
    let content = ContentRef {
        id: ContentId([0x22; 32]),
        root_len: 123,
        bytes: 456_789,
        files: 1,
    };
    NewRecord {
        channel: chain().channel(),
        kind: Kind::SHARE,
        seq: 1,
        created: CREATED,
        expires: CREATED.after(Duration::from_secs(86_400)),
        priority: 0,
        key: Bytes::new(),
        attributes: Attributes::default(),
        body: Share { content }.encode().into(),
    }
}

fn record() -> Record {
    new_share().sign(&key()).unwrap()
}

/// The same record with one attribute of each type.
fn annotated() -> Record {
    let attributes = [
        ("flag", Value::Bool(true)),
        ("count", Value::Int(-2)),
        ("since", Value::Time(CREATED)),
        ("lang", Value::Text("de".into())),
        ("raw", Value::Bytes([0x33; 3].into())),
    ];
    let new = NewRecord {
        attributes: Attributes::new(attributes.map(|(n, v)| (n.to_owned(), v))).unwrap(),
        ..new_share()
    };
    new.sign(&key()).unwrap()
}

fn addrs() -> Vec<SocketAddr> {
    ["192.0.2.1:4242", "[2001:db8::1]:4242"]
        .map(|a| a.parse().unwrap())
        .to_vec()
}

fn link() -> Link {
    let peer = LinkPeer {
        peer: key().peer_id(),
        addrs: addrs(),
    };
    Link::new(chain().channel(), chain().reference(), &[peer])
}

fn hello() -> Message {
    Message::Hello {
        charter: Some(chain().reference()),
        address: None,
        summary: Summary::default(),
    }
}

#[test]
fn what_we_write_is_what_was_always_written() {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    assert_eq!(key().peer_id().to_string(), PEER_ID);
    assert_eq!(hex(&charter().encode().unwrap()), CHARTER_BODY);
    assert_eq!(hex(chain().versions()[0].bytes()), CHARTER);
    assert_eq!(chain().channel().to_string(), CHANNEL_ID);
    assert_eq!(hex(record().bytes()), RECORD);
    assert_eq!(hex(annotated().bytes()), ANNOTATED);
    assert_eq!(record().id().to_string(), RECORD_ID);
    assert_eq!(
        hex(&PeerAddress::sign(&key(), &addrs(), CREATED).encode()),
        ADDRESS
    );
    assert_eq!(link().to_string(), LINK);
    assert_eq!(hex(&hello().encode()), HELLO);
}

#[test]
fn what_was_always_written_is_read() {
    let bytes = |hex: &str| Bytes::from(HEXLOWER.decode(hex.as_bytes()).unwrap());
    let signed = SignedCharter::decode(&bytes(CHARTER)).unwrap();
    assert_eq!(signed.charter(), &charter());
    assert_eq!(Record::decode(bytes(RECORD)), Ok(record()));
    assert_eq!(Record::decode(bytes(ANNOTATED)), Ok(annotated()));
    assert_eq!(
        PeerAddress::decode(&bytes(ADDRESS)).unwrap().addrs(),
        addrs()
    );
    assert_eq!(LINK.parse(), Ok(link()));
    assert_eq!(Message::decode(&bytes(HELLO)), Ok(hello()));
}
