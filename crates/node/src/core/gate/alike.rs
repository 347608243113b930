//! What is answered for a private channel that is here, to whom it lets in no more or
//! never did, and for one that is not here: the same bytes in the same order, over a
//! connection between sockets. Who may read it is let in over the same way by the same
//! words. When they are answered is the business of `tests.rs`.

use samara_graph::{
    Charter, CharterChain, CharterHash, Graph, Kind, Message, NewRecord, RecordHeader,
    Role as Rank, SecretKey,
    body::{Grant, Redemption, Revocation},
    limits::MAX_TIME_MS,
};
use samara_wire::ContentId;

use super::{
    tests::{PROVED, REFUSED, Scene},
    *,
};
use crate::{
    core::{Channel, ChannelMeta, Role, graph_config},
    message::{Ask, ROOT_PAGE},
    session::open_request,
};

const GRAPH: u64 = 1;
const NO_CHANNEL: u64 = 2;
/// A channel that is never here; its answer ends what is compared.
const LAST: ChannelId = ChannelId([0xee; 32]);

/// A private channel of the node's own, which so can answer a proof with one, and whom
/// it knows.
struct Club {
    owner: SecretKey,
    chain: CharterChain,
    /// Says that the stranger of a [`Scene`] is a member.
    grant: Record,
}

impl Club {
    fn new(me: PeerId, stranger: PeerId) -> Self {
        let owner = SecretKey::from_bytes(&[1; 32]);
        assert_eq!(owner.peer_id(), me, "the key of the node");
        let now = WallMs(wall_ms());
        let charter = Charter::private("x", owner.peer_id(), now, [3; 16]);
        let chain = CharterChain::new(charter.sign(&[&owner]).unwrap()).unwrap();
        let grant = grant(&owner, &chain, stranger);
        Self {
            owner,
            chain,
            grant,
        }
    }

    /// A redemption by `joiner` of an invitation whose one-time key did not sign it.
    fn redemption(&self, joiner: &SecretKey) -> Record {
        let [one_time, other] = [5, 6].map(|n| SecretKey::from_bytes(&[n; 32]));
        let invite = RecordId([4; 32]);
        let (id, who) = (self.id(), joiner.peer_id());
        let body = Redemption::sign(id, invite, &who, &one_time).encode();
        let about = other.peer_id();
        record(joiner, &self.chain, about, Kind::REDEMPTION, body)
    }

    fn id(&self) -> ChannelId {
        self.chain.channel()
    }

    fn revocation(&self, whom: PeerId) -> RecordHeader {
        let (up_to, keep) = (0, Default::default());
        let body = Revocation {
            seal: false,
            up_to,
            keep,
        }
        .encode();
        let record = record(&self.owner, &self.chain, whom, Kind::REVOCATION, body);
        record.header().unwrap()
    }

    fn held(&self, me: PeerId, records: impl IntoIterator<Item = RecordHeader>) -> Channel {
        let graph = Graph::restore(self.chain.clone(), records, graph_config(me).unwrap());
        Channel::new(
            graph,
            ChannelMeta::new(Role::Subscriber),
            Default::default(),
        )
    }

    fn proof(&self, records: Vec<Record>) -> Proof {
        let charter = self.chain.reference();
        Proof { charter, records }
    }
}

/// `whom` is a member for 59 minutes, by the word of `author`.
fn grant(author: &SecretKey, chain: &CharterChain, whom: PeerId) -> Record {
    let body = Grant {
        role: Rank::Member,
        parent: None,
        until: in_minutes(59),
        kinds: Default::default(),
        renewable: false,
        replaces: None,
    };
    record(author, chain, whom, Kind::GRANT, body.encode())
}

fn in_minutes(n: u64) -> WallMs {
    WallMs(wall_ms()).after(Duration::from_secs(n * 60))
}

fn record(
    author: &SecretKey,
    chain: &CharterChain,
    whom: PeerId,
    kind: Kind,
    body: Vec<u8>,
) -> Record {
    // Nothing else lasts for ever: it would be refused for that.
    let expires = match kind {
        Kind::REVOCATION => WallMs(MAX_TIME_MS),
        _ => in_minutes(60),
    };
    let new = NewRecord {
        channel: chain.channel(),
        kind,
        seq: kind.0.into(),
        created: WallMs(wall_ms()),
        expires,
        priority: 0,
        key: whom.as_bytes().to_vec().into(),
        attributes: Default::default(),
        body: body.into(),
    };
    new.sign(author).unwrap()
}

fn hello(charter: CharterRef) -> Bytes {
    let (address, summary) = (None, Default::default());
    let charter = Some(charter);
    Message::Hello {
        charter,
        address,
        summary,
    }
    .encode()
    .into()
}

/// One end of a connection, and all that it was told.
struct Talk {
    scene: Scene,
    stream: quinn::SendStream,
    gate: Gate,
    told: Vec<String>,
}

impl Talk {
    async fn begin(scene: Scene, id: ChannelId) -> Self {
        let mut stream = scene.theirs.open_uni().await.unwrap();
        let said = Control::Introduce { site: None };
        stream.write_all(&said.encode()).await.unwrap();
        let gate = scene.gate(id, &scene.stranger, &scene.me);
        let told = Vec::new();
        Self {
            scene,
            stream,
            gate,
            told,
        }
    }

    async fn say(&mut self, control: Control) {
        self.stream.write_all(&control.encode()).await.unwrap();
    }

    /// The kind of the next frame; noted with all its bytes, but for the tag, which is
    /// another on every connection.
    async fn hear(&mut self) -> u64 {
        let frame = self.scene.next().await;
        let body = match frame.body.strip_prefix(&self.gate.tag()) {
            Some(rest) => format!("own tag, {rest:?}"),
            None => format!("{:?}", &frame.body[..]),
        };
        self.told.push(format!("{}: {body}", frame.kind));
        frame.kind
    }

    async fn prove(&mut self, sealed: Vec<u8>) -> u64 {
        let (tag, sealed) = (self.gate.tag(), sealed.into());
        self.say(Control::Prove { tag, sealed }).await;
        self.hear().await
    }

    async fn request(&mut self, ask: Ask) {
        let (_, mut answer) = open_request(&self.scene.theirs, &ask, 1 << 16)
            .await
            .unwrap();
        self.told
            .push(format!("{:?}", answer.read_to_end(1 << 16).await));
    }

    /// Proves that it belongs, and is talked with of the channel as a member.
    async fn enter(mut self, id: ChannelId, proof: &Proof) {
        let sealed = self.gate.seal(proof).unwrap();
        assert_eq!(self.prove(sealed).await, PROVED);
        // It is greeted, and what it says is taken for a member's: of all that is told
        // up to the refusal of the last, none refuses it.
        for channel in [id, LAST] {
            let body = hello(proof.charter);
            self.say(Control::Graph { channel, body }).await;
        }
        assert_eq!(self.hear().await, GRAPH);
        while self.hear().await == GRAPH {}
        let no_last = format!("{NO_CHANNEL}: {:?}", &LAST.0[..]);
        assert_eq!(*self.told.last().unwrap(), no_last);
    }

    /// Says all that one can say who wants in; what is answered, until nothing more is.
    async fn try_everything(mut self, id: ChannelId, proofs: &[Proof]) -> Vec<String> {
        for proof in proofs {
            let sealed = self.gate.seal(proof).unwrap();
            // Again: what was answered once makes no difference.
            for sealed in [sealed.clone(), sealed] {
                assert_eq!(self.prove(sealed).await, REFUSED);
            }
        }
        // Not sealed by the channel's key: damaged, empty, noise.
        let mut damaged = self.gate.seal(&proofs[0]).unwrap();
        damaged[100] ^= 1;
        for sealed in [damaged, Vec::new(), vec![0x5a; 4096]] {
            assert_eq!(self.prove(sealed).await, REFUSED);
        }
        // Sealed rightly, under a tag of nothing.
        let sealed: Bytes = self.gate.seal(&proofs[0]).unwrap().into();
        let tag = [0x77; 32];
        self.say(Control::Prove {
            tag,
            sealed: sealed.clone(),
        })
        .await;
        assert_eq!(self.hear().await, REFUSED);
        // Answers to what nobody asked.
        let tag = self.gate.tag();
        self.say(Control::Proved { tag, sealed }).await;
        self.say(Control::Refused { tag }).await;
        // As if it were let in.
        let body = hello(proofs[0].charter);
        let (channel, content) = (id, ContentId([5; 32]));
        self.say(Control::Graph {
            channel,
            body: body.clone(),
        })
        .await;
        assert_eq!(self.hear().await, NO_CHANNEL);
        let handle = 1;
        self.say(Control::Open {
            handle,
            channel,
            content,
        })
        .await;
        self.say(Control::NoChannel { channel }).await;
        let pages = vec![ROOT_PAGE, 0];
        self.request(Ask::Pages {
            channel,
            content,
            pages,
        })
        .await;
        let chunks = vec![0, 1];
        self.request(Ask::Chunks {
            channel,
            content,
            chunks,
        })
        .await;
        let words = Bytes::from_static(b"there?");
        self.request(Ask::Words {
            channel,
            body: words,
        })
        .await;
        // What was not answered by now is not.
        self.say(Control::Graph {
            channel: LAST,
            body,
        })
        .await;
        assert_eq!(self.hear().await, NO_CHANNEL);
        assert!(self.told.last().unwrap().contains("238, 238"));
        self.told
    }
}

#[tokio::test]
async fn a_channel_that_one_may_not_read_is_answered_for_like_one_that_is_not_here() {
    let absent = Scene::new().await;
    let (me, stranger) = (absent.me, absent.stranger);
    let club = Club::new(me, stranger);
    let id = club.id();
    let other = CharterRef {
        version: 2,
        hash: CharterHash([8; 32]),
    };
    let me_there = SecretKey::from_bytes(&[2; 32]);
    assert_eq!(me_there.peer_id(), stranger, "the key of its end");
    // Of who has the link alone; of another charter; a grant to itself; a forged
    // redemption; and the grant of the owner to one who was revoked.
    let revoked = club.proof(vec![club.grant.clone()]);
    let unrevoked = [
        club.proof(vec![]),
        Proof {
            charter: other,
            records: vec![],
        },
        club.proof(vec![grant(&me_there, &club.chain, stranger)]),
        club.proof(vec![club.redemption(&me_there)]),
    ];
    let proofs: Vec<_> = unrevoked.iter().cloned().chain([revoked]).collect();

    let talk = Talk::begin(absent, id).await;
    let nothing_here = talk.try_everything(id, &proofs).await;

    let scene = Scene::new().await;
    assert_eq!((scene.me, scene.stranger), (me, stranger));
    let header = club.grant.header().unwrap();
    let records = [header, club.revocation(stranger)];
    scene.add(id, club.held(me, records)).await;
    let talk = Talk::begin(scene, id).await;
    assert_eq!(talk.try_everything(id, &proofs).await, nothing_here);

    // Without the revocation the same grant opens the same door: it was no other lock
    // that kept them all out.
    let scene = Scene::new().await;
    scene
        .add(id, club.held(me, [club.grant.header().unwrap()]))
        .await;
    let talk = Talk::begin(scene, id).await;
    talk.enter(id, proofs.last().unwrap()).await;

    // The same for one whom the channel has never heard of.
    let scene = Scene::new().await;
    scene.add(id, club.held(me, [])).await;
    let talk = Talk::begin(scene, id).await;
    let told = talk.try_everything(id, &unrevoked).await;
    let shared = 2 * unrevoked.len();
    assert_eq!(told[..shared], nothing_here[..shared]);
    assert_eq!(told[shared..], nothing_here[2 * proofs.len()..]);
}
