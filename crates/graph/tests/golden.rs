//! The test vectors of docs/protocol.md: if one of these fails, a node of today does
//! not understand one of yesterday.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use samara_graph::{
    Attributes, Charter, CharterChain, CharterHash, Former, Gate, Invitation, Kind, Link, LinkPeer,
    Message, NewRecord, PeerAddress, Proof, Record, Role, SecretKey, SignedCharter, Summary, Value,
    WallMs,
    body::{ContentRef, Grant, Invite, Redemption, Revocation, Share, id_prefix},
    limits,
};
use samara_wire::{ContentId, PeerId};

/// 2025-01-01T00:00:00Z.
const CREATED: WallMs = WallMs(1_735_689_600_000);

const SEED: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const PEER_ID: &str = "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa";
const CHARTER_BODY: &str = "010106676f6c64656e018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0100000000018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c800100008000400080010000c00000497c5ecc0000000001c00001941f297c0011111111111111111111111111111111";
const FORMER_BODY: &str = "0102777777777777777777777777777777777777777777777777777777777777777706676f6c64656e018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c01000133333333333333333333333333333333333333333333333333333333333333330201444444444444444444444444444444440255555555555555555555555555555555666666666666666666666666666666660000018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c800100008000400080010000c00000497c5ecc0000000001c00001941f297c0011111111111111111111111111111111";
const CHARTER: &str = "4080010106676f6c64656e018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0100000000018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c800100008000400080010000c00000497c5ecc0000000001c00001941f297c0011111111111111111111111111111111018a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5cb6dca9c1e61798128fab6715545e9178d9c5c78bd7656278e2eedc86a99bffa9c528f20884222dbd9f6e688d7cdbd2bc97edeaddbbd4db4d34ce8e4fd9933405";
const CHANNEL_ID: &str = "qgy3pvtnml37swoqeukgg6nry7isbgy3pk5bh6rkfnwi5zwxuofa";
const RECORD: &str = "0181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38a8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c410201c00001941f297c00c0000194244fd80000000028012222222222222222222222222222222222222222222222222222222222222222407b8006f85501d629b91bfff8701a0363351ef605d2ff762f3787b68f66dd51c0ee748f535f1279e37a082817fa0eec276fa516dc492b84a346f50a72ccc58ce842001256950c";
const RECORD_ID: &str = "rrjbc7urphkyc33gjjx2pbmidpljb5zkd2ouarknr2cundtfksta";
const ANNOTATED: &str = "0181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38a8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c410201c00001941f297c00c0000194244fd80000000505636f756e7401feffffffffffffff04666c61670001046c616e67030264650372617704033333330573696e636502c00001941f297c0028012222222222222222222222222222222222222222222222222222222222222222407b8006f85501d58f34bcfc1e4990cdc2ed270e9b070475b7b1256e79a411b926d74bd59acc977ce79aa7de9261beef4da051a907ee520484d574e5e24c408b17b3c14e37ac06";
const ADDRESS: &str = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0204c000020110920620010db80000000000000000000000011092c00001941f297c00d53327b5cb554cfcdb98504b1c0787a82df8a6ea75e9c9577d4bb4792f2410d6eb791f522269fc481adde3829ba8d83033fc10ab0f761ac86e98024f9ec1aa08";
const LINK: &str = "samara:aeaidmnx2zwwf57zlhickfddpgy4pujatmnxvoqt7ivcw3eo43l2hcqbqgy3pvtnml37swoqeukgg6nry7isbgy3pk5bh6rkfnwi5zwxuofadcui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324aicmaaacaeijebraaeg3qaaaaaaaaaaaaaaaaaabccjii36fwy";
const HELLO: &str = "00010181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38a000000000000000000000000000000000000000000";

const GRANT: &str = "0181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38a8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0202c00001941f297c00c0000194b9a844000020d759793bbc13a2819a827c76adb6fba8a49aee007f49f2d0992d99b825ad2c480010010200c0000194244fd8000141000100d9e3145ce87bee750e57ba51833f40bf913f5169d63065ea0fbdad6662e7b795c07ae4ee00fc3e0de13c8d1d0f7ed5c7ec7a934bc82dd2fed86f414fd8bab509";
const INVITE: &str = "0181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38a8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0402c00001941f297c00c0000194b9a844000020c6822637c7d310ec57627be00ba259d253749f4aaf644470cffbe53a35f73242000e01050003c0000194244fd8000001707697cb36bed380f231dc84e28ed8a3cf3ee87b107b2365c56f370b10669379e8ece4b27d929df8865947c2d11ad6f7d30d308af9fa91a2617c31a356071f01";
const REDEMPTION: &str = "0181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38ad759793bbc13a2819a827c76adb6fba8a49aee007f49f2d0992d99b825ad2c480502c00001941f297c00c0000194b9a844000020c6822637c7d310ec57627be00ba259d253749f4aaf644470cffbe53a35f7324200406101f42ed44a33271200478b5c8aa1366891cdb2590c5a1bf8abc92138e774e0dfa026da0198ae4f3b9e0670d25bb2d0401f8754270919e72e4737fea5ca8ed8c639477d71d9bd52c7ca71e65df79cf12e25f8b93cb312a148e982d18285ec3cce0b4d5969ef19ec3cc2ef912809025bc443bfd1616770d9d89af67323afe3d4657877338da2be4f4f21764c4bb938e2ce67ea451522a06fc8a8cbc020b71a0aed04";
const REVOCATION: &str = "0181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38a8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0302c00001941f297c00c0010000000000000020d759793bbc13a2819a827c76adb6fba8a49aee007f49f2d0992d99b825ad2c480014010000018c52117e9179d5816f664a6fa785881b0738f53b26756ca636bbdf3f9c40c631a6820c7919ff51e6eb052cc17dcaaeed7128937f00f2ae42d8fd5999b9848b49bd3392c1273d68e8568855a06afe7c02";
const SEAL: &str = "0181b1b7d66d62f7f959d025146379b1c7d1209b1b7aba13fa2a2b6c8ee6d7a38a8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0302c00001941f297c00c0010000000000000020d759793bbc13a2819a827c76adb6fba8a49aee007f49f2d0992d99b825ad2c480014010107018c52117e9179d5816f664a6fa785881b16184a922e5c8560eef546019e5d908a6874e88c1f99147187c94ce235cab6713ca78db4e11066d8586f6d66d1aff41940f54b74fd8e9888c082394fe8099f0b";
const INVITATION: &str = "samara:aebydmnx2zwwf57zlhickfddpgy4pujatmnxvoqt7ivcw3eo43l2hcqbqgy3pvtnml37swoqeukgg6nry7isbgy3pk5bh6rkfnwi5zwxuoffkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvkvpuf3keumzhciaepc24rkqtm2erzwzfsdc2dp4kxsjbhdtxjyg7udaaaamuerh5qagaaaazjoniiqaadcui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324aicmaaacaeijebraaeg3qaaaaaaaaaaaaaaaaaabccjgpq36c4";
const GATE_TAG: &str = "6f78895ed3c1a7ee1aec7e3a9540fe4bc5899b19c6d34d42a41a7949892c37a5";
/// BLAKE3 of the 4,096 bytes.
const SEALED: &str = "b0940d888fd8c8278a8b8b2137251fb39ec0ba7114528c9eebcae891964961fd";

fn key() -> SecretKey {
    let seed = HEXLOWER.decode(SEED.as_bytes()).unwrap();
    SecretKey::from_bytes(&seed.try_into().unwrap())
}

fn charter() -> Charter {
    Charter::open("golden", key().peer_id(), CREATED, [0x11; 16])
}

/// Another version, which lists records of somebody who was an owner and an admin.
fn next_charter() -> Charter {
    let former = Former {
        since: 2,
        as_owner: [[0x44; 16]].into(),
        as_admin: [[0x55; 16], [0x66; 16]].into(),
    };
    Charter {
        version: 2,
        previous: Some(CharterHash([0x77; 32])),
        former: [(PeerId([0x33; 32]), former)].into(),
        ..charter()
    }
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

/// The joiner's key, and the one-time key.
fn joiner() -> SecretKey {
    SecretKey::from_bytes(&[0x44; 32])
}

fn one_time() -> SecretKey {
    SecretKey::from_bytes(&[0x55; 32])
}

/// Sequence 2, for a month, by the owner.
fn membership(kind: Kind, about: &SecretKey, body: Vec<u8>) -> NewRecord {
    NewRecord {
        kind,
        seq: 2,
        expires: CREATED.after(Duration::from_secs(30 * 86_400)),
        key: Bytes::copy_from_slice(about.peer_id().as_bytes()),
        body: body.into(),
        ..new_share()
    }
}

fn grant() -> Record {
    let grant = Grant {
        role: Role::Publisher,
        parent: None,
        until: CREATED.after(Duration::from_secs(86_400)),
        kinds: [Kind::RELEASE].into(),
        renewable: true,
        replaces: None,
    };
    let new = membership(Kind::GRANT, &joiner(), grant.encode());
    new.sign(&key()).unwrap()
}

fn invite() -> Record {
    let invite = Invite {
        role: Role::Member,
        parent: None,
        uses: 3,
        until: CREATED.after(Duration::from_secs(86_400)),
        kinds: [].into(),
        renewable: true,
    };
    let new = membership(Kind::INVITE, &one_time(), invite.encode());
    new.sign(&key()).unwrap()
}

fn redemption() -> Record {
    let (joiner, one_time) = (joiner(), one_time());
    let channel = chain().channel();
    let body = Redemption::sign(channel, invite().id(), &joiner.peer_id(), &one_time);
    let new = membership(Kind::REDEMPTION, &one_time, body.encode());
    new.sign(&joiner).unwrap()
}

fn revocation() -> Record {
    about_joiner(false, 0)
}

fn seal() -> Record {
    about_joiner(true, 7)
}

fn about_joiner(seal: bool, up_to: u64) -> Record {
    let body = Revocation {
        seal,
        up_to,
        keep: [id_prefix(&record().id())].into(),
    };
    let new = NewRecord {
        expires: WallMs(limits::MAX_TIME_MS),
        ..membership(Kind::REVOCATION, &joiner(), body.encode())
    };
    new.sign(&key()).unwrap()
}

fn invitation() -> Link {
    let invitation = Invitation {
        key: one_time(),
        invite: invite().id(),
        until: CREATED.after(Duration::from_secs(86_400)),
        expires: invite().expires(),
    };
    let peer = LinkPeer {
        peer: key().peer_id(),
        addrs: addrs(),
    };
    Link::with(
        chain().channel(),
        chain().reference(),
        true,
        Some(invitation),
        &[peer],
    )
}

fn gate() -> Gate {
    let (from, to) = (joiner().peer_id(), key().peer_id());
    Gate::new(chain().channel(), &[0x66; 32], &from, &to)
}

fn proof() -> Proof {
    Proof {
        charter: chain().reference(),
        records: vec![redemption(), invite()],
    }
}

#[test]
fn what_we_write_is_what_was_always_written() {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    assert_eq!(key().peer_id().to_string(), PEER_ID);
    assert_eq!(hex(&charter().encode().unwrap()), CHARTER_BODY);
    let former = next_charter().encode().unwrap();
    assert_eq!(hex(&former), FORMER_BODY);
    assert_eq!(Charter::decode(&former), Ok(next_charter()));
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
    assert_eq!(hex(grant().bytes()), GRANT);
    assert_eq!(hex(invite().bytes()), INVITE);
    assert_eq!(hex(redemption().bytes()), REDEMPTION);
    assert_eq!(hex(revocation().bytes()), REVOCATION);
    assert_eq!(hex(seal().bytes()), SEAL);
    assert_eq!(invitation().to_string(), INVITATION);
    assert_eq!(hex(&gate().tag()), GATE_TAG);
    let sealed = gate().seal(&proof()).unwrap();
    assert_eq!(sealed.len(), 4096);
    assert_eq!(hex(blake3::hash(&sealed).as_bytes()), SEALED);
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
    for (hex, record) in [
        (GRANT, grant()),
        (INVITE, invite()),
        (REDEMPTION, redemption()),
        (REVOCATION, revocation()),
        (SEAL, seal()),
    ] {
        assert_eq!(Record::decode(bytes(hex)), Ok(record));
    }
    assert_eq!(INVITATION.parse(), Ok(invitation()));
    let sealed = gate().seal(&proof()).unwrap();
    assert_eq!(gate().open(&sealed), Ok(proof()));
}
