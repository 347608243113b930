//! What becomes of a peer here that was revoked: the connection, the dials, the links;
//! and what this node can see of its own exclusion.

use std::time::{Duration, Instant};

use samara_graph::{
    Charter, CharterChain, Graph, Kind, Message, NewRecord, PeerAddress, Record, Role as Rank,
    SecretKey, WallMs,
    body::{Grant, Revocation},
    limits::MAX_TIME_MS,
};
use samara_wire::{ChannelId, PeerId};
use tokio::sync::mpsc;

use super::{
    Channel, ChannelMeta, Core, Input, Role, ShutOut, dial::tests::core_with_queue, graph_config,
    wall_ms,
};
use crate::{discovery::Source, message::Control, transport::tests::endpoint};

/// An identity that [`endpoint`] makes too.
fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

fn owner() -> SecretKey {
    key(77)
}

/// A channel of [`owner`]'s that this node carries.
fn channel(me: PeerId) -> (ChannelId, Channel) {
    let owner = owner();
    let charter = Charter::open("x", owner.peer_id(), WallMs(wall_ms()), [3; 16]);
    let chain = CharterChain::new(charter.sign(&[&owner]).unwrap()).unwrap();
    let id = chain.channel();
    let graph = Graph::restore(chain, [], graph_config(me).unwrap());
    let meta = ChannelMeta::new(Role::Subscriber);
    (id, Channel::new(graph, meta, Default::default()))
}

fn revocation(id: ChannelId, whom: &PeerId) -> Record {
    let (up_to, keep) = (0, Default::default());
    let new = NewRecord {
        channel: id,
        kind: Kind::REVOCATION,
        seq: 1,
        created: WallMs(wall_ms()),
        expires: WallMs(MAX_TIME_MS),
        priority: u8::MAX,
        key: whom.as_bytes().to_vec().into(),
        attributes: Default::default(),
        body: Revocation {
            seal: false,
            up_to,
            keep,
        }
        .encode()
        .into(),
    };
    new.sign(&owner()).unwrap()
}

/// A connection from a peer with key `n`; its end.
async fn connect(core: &mut Core, n: u8) -> (PeerId, quinn::Connection) {
    let (server, client) = (endpoint(1), endpoint(n));
    let dialled = client
        .endpoint
        .connect(server.addr, crate::tls::SERVER_NAME);
    let accepted = async { server.endpoint.accept().await.unwrap().await.unwrap() };
    let (dialled, accepted) = tokio::join!(dialled.unwrap(), accepted);
    let peer = crate::tls::remote_peer(&accepted).unwrap();
    core.on_connected(peer, accepted, false);
    (peer, dialled.unwrap())
}

fn say(core: &mut Core, id: ChannelId, peer: PeerId, message: Message) {
    let body = message.encode().into();
    core.on_control(peer, Control::Graph { channel: id, body });
}

fn greet(core: &mut Core, id: ChannelId, peer: PeerId) {
    let charter = core.channels[&id].graph.charters().map(|c| c.reference());
    let (address, summary) = (None, Default::default());
    let hello = Message::Hello {
        charter,
        address,
        summary,
    };
    say(core, id, peer, hello);
}

/// Handles nothing but what comes in, until a record is on the disk: no timer is ever
/// asked.
async fn until_stored(core: &mut Core, queue: &mut mpsc::Receiver<Input>) {
    loop {
        let input = queue.recv().await.expect("the core has a sender");
        let stored = matches!(&input, Input::RecordStored { .. });
        core.handle(input);
        if stored {
            return;
        }
    }
}

#[tokio::test]
async fn who_is_revoked_is_cut_off_in_the_turn_in_which_the_record_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (mut core, _handle, mut queue) = core_with_queue(dir.path());
    let (id, held) = channel(core.me);
    core.add_channel(id, held, true);
    let (member, _theirs) = connect(&mut core, 2).await;
    let (fifth, _fifths) = connect(&mut core, 3).await;
    for peer in [member, fifth] {
        greet(&mut core, id, peer);
        assert!(core.channels[&id].members.contains(&peer));
    }
    let connection = core.sessions[&fifth].session.connection.clone();
    let record = revocation(id, &fifth);
    say(
        &mut core,
        id,
        member,
        Message::Record(record.bytes().clone()),
    );
    assert!(
        connection.close_reason().is_none(),
        "it is not on the disk yet"
    );
    until_stored(&mut core, &mut queue).await;
    assert!(core.channels[&id].graph.contains(&record.id()));
    // Neither a tick nor a round of dials came in between.
    assert!(connection.close_reason().is_some());
    assert!(!core.sessions.contains_key(&fifth));
    assert!(!core.channels[&id].members.contains(&fifth));
    // The others stay.
    assert!(core.channels[&id].members.contains(&member));
    let kept = &core.sessions[&member].session.connection;
    assert!(kept.close_reason().is_none());
}

#[tokio::test]
async fn who_was_revoked_is_not_dialled_nor_greeted_nor_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut core, _handle, mut queue) = core_with_queue(dir.path());
    let (id, held) = channel(core.me);
    core.add_channel(id, held, true);
    core.transport = Some(endpoint(1));
    // Nobody answers there.
    let closed = "127.0.0.1:1".parse().unwrap();
    let (kept, gone) = (key(2), key(3));
    let (a, b) = (kept.peer_id(), gone.peer_id());
    let addresses = |core: &mut Core| {
        for who in [&kept, &gone] {
            let address = PeerAddress::sign(who, &[closed], WallMs(wall_ms()));
            core.graph_event(id, samara_graph::Event::PeerKnown(address));
            core.learn_peer(id, who.peer_id(), &[closed], Source::Link);
        }
        let known = &mut core.channels.get_mut(&id).unwrap().known;
        known.values_mut().for_each(|k| k.try_by(Instant::now()));
    };
    let named = |core: &Core| {
        let link = core.link_of(id, &[closed], None).unwrap();
        let link: samara_graph::Link = link.parse().unwrap();
        let mut peers: Vec<_> = link.peers().iter().map(|p| p.peer).collect();
        peers.retain(|peer| *peer != core.me);
        peers.sort();
        peers
    };
    let mut both = vec![a, b];
    both.sort();
    addresses(&mut core);
    assert_eq!(named(&core), both);
    core.dial_round();
    assert!([a, b].iter().all(|p| core.dialling.contains_key(p)));
    for peer in [a, b] {
        core.on_dial_failed(peer, "no answer");
    }

    let record = revocation(id, &b);
    let bytes = vec![record.bytes().clone()];
    core.offer_records(id, bytes).unwrap()[0].unwrap();
    until_stored(&mut core, &mut queue).await;
    // Also when somebody tells of it again.
    addresses(&mut core);
    assert_eq!(named(&core), [a]);
    core.dial_round();
    assert!(core.dialling.contains_key(&a) && !core.dialling.contains_key(&b));
    core.on_dial_failed(a, "no answer");
    // It may call; nothing is said to it.
    for n in [2, 3] {
        connect(&mut core, n).await;
    }
    core.greet(id, b);
    addresses(&mut core);
    core.dial_round();
    assert_eq!(core.channels[&id].greeted, [a].into());
    greet(&mut core, id, b);
    assert_eq!(core.channels[&id].members, [a].into());
}

#[tokio::test]
async fn who_answers_and_talks_of_an_open_channel_no_more_shuts_this_node_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut core, _handle, _queue) = core_with_queue(dir.path());
    let (id, held) = channel(core.me);
    core.add_channel(id, held, true);
    let (member, _theirs) = connect(&mut core, 2).await;
    core.learn_peer(id, member, &["127.0.0.1:1".parse().unwrap()], Source::Link);
    let why = |core: &Core| core.channels[&id].shut_out(&core.me, WallMs(wall_ms()));
    let no = |core: &mut Core| core.on_control(member, Control::NoChannel { channel: id });
    // Nobody has answered yet.
    core.greet(id, member);
    assert_eq!(why(&core), None);
    no(&mut core);
    assert_eq!(why(&core), Some(ShutOut::Refused));
    // It changes its mind, or did not have it then.
    greet(&mut core, id, member);
    assert_eq!(why(&core), None);
    // Who has talked of it takes leave by the same word: that is no refusal.
    no(&mut core);
    assert!(core.channels[&id].members.is_empty());
    assert_eq!(why(&core), None);
    // Asked again, it is.
    core.greet(id, member);
    no(&mut core);
    assert_eq!(why(&core), Some(ShutOut::Refused));
}

/// A node that carries an open channel, two peers on connections to it, and what refuses
/// it for a peer, who says so each time that it is greeted.
struct Refused {
    core: Core,
    queue: mpsc::Receiver<Input>,
    id: ChannelId,
    peers: [PeerId; 2],
    _theirs: [quinn::Connection; 2],
    _dir: tempfile::TempDir,
}

impl Refused {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut core, _, queue) = core_with_queue(dir.path());
        let (id, held) = channel(core.me);
        core.add_channel(id, held, true);
        let (a, ours) = connect(&mut core, 2).await;
        let (b, others) = connect(&mut core, 3).await;
        for peer in [a, b] {
            let nowhere = "127.0.0.1:1".parse().unwrap();
            core.learn_peer(id, peer, &[nowhere], Source::Link);
        }
        Self {
            core,
            queue,
            id,
            peers: [a, b],
            _theirs: [ours, others],
            _dir: dir,
        }
    }

    fn ask(&mut self, peer: PeerId, times: u32) {
        let channel = self.id;
        for _ in 0..times {
            self.core.greet(channel, peer);
            self.core.on_control(peer, Control::NoChannel { channel });
        }
    }

    /// Whether a peer may be asked then.
    fn is_due(&self, peer: &PeerId, at: Instant) -> bool {
        self.core.channels[&self.id].known[peer].is_due(at)
    }

    async fn take_in(&mut self, record: &Record) {
        let bytes = vec![record.bytes().clone()];
        self.core.offer_records(self.id, bytes).unwrap()[0].unwrap();
        until_stored(&mut self.core, &mut self.queue).await;
        assert!(self.core.channels[&self.id].graph.contains(&record.id()));
    }

    /// The owner makes somebody a member.
    fn grant(&self, whom: &PeerId, seq: u64) -> Record {
        let until = WallMs(wall_ms()).after(Duration::from_secs(3600));
        let body = Grant {
            role: Rank::Member,
            parent: None,
            until,
            kinds: Default::default(),
            renewable: false,
            replaces: None,
        };
        let new = NewRecord {
            channel: self.id,
            kind: Kind::GRANT,
            seq,
            created: WallMs(wall_ms()),
            expires: until,
            priority: 0,
            key: whom.as_bytes().to_vec().into(),
            attributes: Default::default(),
            body: body.encode().into(),
        };
        new.sign(&owner()).unwrap()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn who_is_refused_in_an_open_channel_asks_ever_less_often_until_it_is_talked_with() {
    let mut scene = Refused::new().await;
    let peer = scene.peers[0];
    for minutes in [1, 2, 4, 8, 16, 30, 30] {
        let before = Instant::now();
        scene.ask(peer, 1);
        let moment = Duration::from_millis(1);
        assert!(!scene.is_due(&peer, before + minutes * MINUTE - moment));
        assert!(scene.is_due(&peer, Instant::now() + minutes * MINUTE));
    }
    greet(&mut scene.core, scene.id, peer);
    assert!(scene.is_due(&peer, Instant::now()));
    // It takes leave; then it is asked, and refuses for the first time again.
    scene.ask(peer, 2);
    assert!(!scene.is_due(&peer, Instant::now()));
    assert!(scene.is_due(&peer, Instant::now() + MINUTE));
}

#[tokio::test]
async fn a_role_or_a_charter_that_arrives_has_those_asked_again_who_refused() {
    let mut scene = Refused::new().await;
    let [a, b] = scene.peers;
    let me = scene.core.me;
    let refuse = |scene: &mut Refused| {
        for peer in [a, b] {
            scene.ask(peer, 5);
            assert!(!scene.is_due(&peer, Instant::now() + 10 * MINUTE));
        }
    };
    let due = |scene: &Refused| [a, b].map(|peer| scene.is_due(&peer, Instant::now()));

    refuse(&mut scene);
    scene.take_in(&scene.grant(&me, 1)).await;
    assert_eq!(due(&scene), [true, true]);
    refuse(&mut scene);

    // Of who gets a role it is likely that it has the channel.
    scene.take_in(&scene.grant(&a, 2)).await;
    assert_eq!(due(&scene), [true, false]);
    refuse(&mut scene);

    let chain = scene.core.channels[&scene.id].graph.charters().unwrap();
    let next = chain.current();
    let next = next.successor(chain.reference().hash, WallMs(wall_ms()));
    let charters = [&chain.versions()[0], &next.sign(&[&owner()]).unwrap()];
    let charters = charters.map(|charter| charter.bytes().clone());
    scene.core.offer_charters(scene.id, &charters).unwrap();
    let version = scene.core.channels[&scene.id].graph.charters().unwrap();
    assert_eq!(version.reference().version, 2);
    assert_eq!(due(&scene), [true, true]);
}

#[tokio::test]
async fn a_role_that_has_ended_is_told_from_one_that_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let (core, _handle, _queue) = core_with_queue(dir.path());
    let (owner, me, now) = (owner(), core.me, wall_ms());
    let hour = 3_600_000;
    let charter = Charter::private("x", owner.peer_id(), WallMs(now - 3 * hour), [3; 16]);
    let chain = CharterChain::new(charter.sign(&[&owner]).unwrap()).unwrap();
    let grant = |whom: &PeerId, until: u64| {
        let new = NewRecord {
            channel: chain.channel(),
            kind: Kind::GRANT,
            seq: until,
            created: WallMs(now - 2 * hour),
            expires: WallMs(now + 9 * hour),
            priority: 0,
            key: whom.as_bytes().to_vec().into(),
            attributes: Default::default(),
            body: Grant {
                role: Rank::Member,
                parent: None,
                until: WallMs(until),
                kinds: Default::default(),
                renewable: false,
                replaces: None,
            }
            .encode()
            .into(),
        };
        new.sign(&owner).unwrap().header().unwrap()
    };
    let other = key(9).peer_id();
    let (ended, lasts) = (now - hour, now + hour);
    for (whom, until, why) in [
        (me, lasts, None),
        (me, ended, Some(ShutOut::Ended)),
        (other, lasts, Some(ShutOut::NoRole)),
    ] {
        let records = [grant(&whom, until)];
        let graph = Graph::restore(chain.clone(), records, graph_config(me).unwrap());
        let meta = ChannelMeta::new(Role::Subscriber);
        let channel = Channel::new(graph, meta, Default::default());
        assert_eq!(channel.shut_out(&me, WallMs(now)), why);
    }
}
