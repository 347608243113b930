use std::sync::Arc;

use samara_graph::{Charter, CharterChain, CharterHash, Graph, Link as WayIn};
use samara_wire::{Frame, FrameDecoder};

use super::*;
use crate::{
    core::{Channel, ChannelMeta, CoreHandle, Role, dial::tests::core_with_queue, graph_config},
    discovery::Source,
    message::Ask,
    session::open_request,
    tls,
};

/// A node at work, and a peer on one connection that reads all that it says.
pub(super) struct Scene {
    node: CoreHandle,
    pub(super) me: PeerId,
    pub(super) theirs: Connection,
    pub(super) stranger: PeerId,
    said: quinn::RecvStream,
    frames: FrameDecoder,
    _dir: tempfile::TempDir,
}

const PROVE: u64 = 7;
pub(super) const PROVED: u64 = 8;
pub(super) const REFUSED: u64 = 9;
const INTRODUCE: u64 = 6;

fn by_its_id(id: ChannelId) -> WayIn {
    let (version, hash) = (1, CharterHash(id.0));
    WayIn::new(id, CharterRef { version, hash }, &[])
}

/// A channel of somebody else's with its charter, open or not.
fn held(me: PeerId, private: bool) -> (ChannelId, Channel) {
    let owner = samara_graph::SecretKey::from_bytes(&[77; 32]);
    let make = if private {
        Charter::private
    } else {
        Charter::open
    };
    let charter = make("x", owner.peer_id(), WallMs(wall_ms()), [3; 16]);
    let chain = CharterChain::new(charter.sign(&[&owner]).unwrap()).unwrap();
    let id = chain.channel();
    let graph = Graph::restore(chain, [], graph_config(me).unwrap());
    let meta = ChannelMeta::new(Role::Subscriber);
    (id, Channel::new(graph, meta, Default::default()))
}

impl Scene {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (core, node, queue) = core_with_queue(dir.path());
        let me = core.me;
        tokio::spawn(core.run(queue));
        let (ours, theirs) = crate::transport::tests::pair().await;
        let stranger = tls::remote_peer(&ours).unwrap();
        let connect = move |core: &mut Core| core.on_connected(stranger, ours, false);
        node.call(connect).await.unwrap();
        let said = theirs.accept_uni().await.unwrap();
        Self {
            node,
            me,
            theirs,
            stranger,
            said,
            frames: FrameDecoder::new(1 << 20),
            _dir: dir,
        }
    }

    pub(super) async fn add(&self, id: ChannelId, channel: Channel) {
        let add = move |core: &mut Core| core.add_channel(id, channel, true);
        self.node.call(add).await.unwrap();
    }

    /// What the node says next, after who it is.
    pub(super) async fn next(&mut self) -> Frame {
        loop {
            match self.frames.next_frame().unwrap() {
                Some(frame) if frame.kind == INTRODUCE => {}
                Some(frame) => return frame,
                None => {
                    let chunk = self.said.read_chunk(1 << 16, true).await.unwrap();
                    self.frames.push(&chunk.expect("it goes on").bytes);
                }
            }
        }
    }

    pub(super) fn gate(&self, id: ChannelId, from: &PeerId, to: &PeerId) -> Gate {
        let mut exporter = [0; 32];
        self.theirs
            .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
            .unwrap();
        Gate::new(id, &exporter, from, to)
    }

    /// Asks for a channel as one who knows its id and shows nothing.
    async fn ask(&self, id: ChannelId) {
        self.ask_often(id, 1).await;
    }

    /// The same so many times, one behind the other.
    async fn ask_often(&self, id: ChannelId, times: usize) {
        let gate = self.gate(id, &self.stranger, &self.me);
        let charter = by_its_id(id).charter();
        let records = Vec::new();
        let sealed = gate.seal(&Proof { charter, records }).unwrap().into();
        let tag = gate.tag();
        let mut stream = self.theirs.open_uni().await.unwrap();
        let said = Control::Introduce { site: None };
        stream.write_all(&said.encode()).await.unwrap();
        let said = Control::Prove { tag, sealed }.encode();
        for _ in 0..times {
            stream.write_all(&said).await.unwrap();
        }
        // It must stay open.
        std::mem::forget(stream);
    }
}

fn names(frame: &Frame, id: &ChannelId) -> bool {
    frame.body.windows(32).any(|bytes| bytes == id.0)
}

#[tokio::test]
async fn a_bare_id_is_said_to_nobody_who_does_not_know_it() {
    let mut scene = Scene::new().await;
    let id = ChannelId([9; 32]);
    let peer = scene.stranger;
    let look = move |core: &mut Core| {
        core.visit_bare(id).unwrap();
        core.greet(id, peer);
    };
    scene.node.call(look).await.unwrap();
    let frame = scene.next().await;
    assert!(!names(&frame, &id), "{frame:?}");
    assert_eq!(frame.kind, PROVE);
    // Who knows it can tell what it is asked for, and sees that nothing is shown.
    let gate = scene.gate(id, &scene.me, &scene.stranger);
    assert!(gate.knows(frame.body.first_chunk().unwrap()));
    assert_eq!(gate.open(&frame.body[32..]).unwrap().records, []);
}

#[tokio::test]
async fn an_open_channel_answers_who_knows_its_id_and_a_private_one_does_not() {
    for (private, answer) in [(false, PROVED), (true, REFUSED)] {
        let mut scene = Scene::new().await;
        let (id, channel) = held(scene.me, private);
        scene.add(id, channel).await;
        scene.ask(id).await;
        let frame = scene.next().await;
        assert_eq!(frame.kind, answer);
        assert!(!names(&frame, &id), "{frame:?}");
    }
    let mut scene = Scene::new().await;
    scene.ask(ChannelId([9; 32])).await;
    assert_eq!(scene.next().await.kind, REFUSED);
}

#[tokio::test]
async fn a_peer_s_proofs_wait_for_their_turn_on_the_wire() {
    let mut scene = Scene::new().await;
    let peer = scene.stranger;
    let turnstile = scene.node.call(|core| Arc::clone(&core.turnstile));
    let turnstile = turnstile.await.unwrap();
    let mut places = Vec::new();
    for _ in 0..limits::MAX_PROOFS_AT_ONCE {
        places.push(turnstile.pass().await);
    }
    let id = ChannelId([9; 32]);
    scene.ask_often(id, 20).await;
    // What it says on another stream is heard meanwhile.
    let body = Bytes::from_static(b"there?");
    let words = Ask::Words { channel: id, body };
    let (_, mut answer) = open_request(&scene.theirs, &words, 1024).await.unwrap();
    assert_eq!(answer.read_to_end(1).await.unwrap(), [1]);
    let proofs = move |core: &mut Core| core.sessions[&peer].doors.proofs;
    assert_eq!(scene.node.call(proofs).await.unwrap(), 0);
    places.pop();
    for _ in 0..20 {
        assert_eq!(scene.next().await.kind, REFUSED);
    }
    assert_eq!(scene.node.call(proofs).await.unwrap(), 20);
}

/// A core that is not at work, a peer on a connection to it, and what the peer says.
struct Desk {
    core: Core,
    queue: tokio::sync::mpsc::Receiver<Input>,
    stranger: PeerId,
    theirs: Connection,
    _dir: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut core, _, queue) = core_with_queue(dir.path());
        let (ours, theirs) = crate::transport::tests::pair().await;
        let stranger = tls::remote_peer(&ours).unwrap();
        core.on_connected(stranger, ours, false);
        Self {
            core,
            queue,
            stranger,
            theirs,
            _dir: dir,
        }
    }

    fn gate(&self, id: ChannelId) -> Gate {
        let mut exporter = [0; 32];
        self.theirs
            .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
            .unwrap();
        Gate::new(id, &exporter, &self.stranger, &self.core.me)
    }

    /// A proof of nothing, for that channel.
    fn proof(&self, id: ChannelId) -> ([u8; 32], Bytes) {
        let (charter, records) = (by_its_id(id).charter(), Vec::new());
        let gate = self.gate(id);
        let sealed = gate.seal(&Proof { charter, records }).unwrap();
        (gate.tag(), sealed.into())
    }

    fn refusals(&self, label: &str) -> u64 {
        let refusals = &self.core.metrics.gate_refusals;
        refusals.with_label_values(&[label]).get()
    }

    /// Hands the core what comes in until it is a call.
    async fn until_called(&mut self) {
        loop {
            let input = self.queue.recv().await.unwrap();
            let called = matches!(input, Input::Call(_));
            self.core.handle(input);
            if called {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_proof_is_verified_elsewhere_and_answered_at_one_time_whatever_is_here() {
    for (here, label) in [(true, "not_member"), (false, "unknown")] {
        let mut desk = Desk::new().await;
        let (id, channel) = held(desk.core.me, true);
        if here {
            desk.core.add_channel(id, channel, true);
        }
        let (tag, sealed) = desk.proof(id);
        let place = desk.core.turnstile.pass().await;
        time::pause();
        let asked = Instant::now();
        desk.core.on_prove(desk.stranger, tag, sealed, place);
        assert_eq!(desk.refusals(label), 0);
        desk.until_called().await;
        let took = asked.elapsed();
        time::resume();
        assert_eq!(desk.refusals(label), 1);
        // The clock of the test goes by milliseconds.
        let late = took.checked_sub(ANSWER_AFTER).expect("not before its time");
        assert!(late <= Duration::from_millis(1), "{label} after {took:?}");
    }
}

#[tokio::test]
async fn an_answer_that_was_not_asked_for_is_not_even_opened() {
    let mut desk = Desk::new().await;
    let (id, channel) = held(desk.core.me, true);
    desk.core.add_channel(id, channel, true);
    let (tag, sealed) = desk.proof(id);
    let stranger = desk.stranger;
    desk.core.on_proved(stranger, tag, &sealed);
    assert_eq!(desk.refusals("not_member"), 0);
    let link = desk.core.sessions.get_mut(&stranger).unwrap();
    link.doors.asked.insert(id);
    // One for each time that we asked.
    for _ in 0..2 {
        desk.core.on_proved(stranger, tag, &sealed);
        assert_eq!(desk.refusals("not_member"), 1);
    }
}

#[tokio::test]
async fn who_has_nothing_to_show_thinks_ever_less_often_of_asking_and_asks_once_it_has() {
    let mut desk = Desk::new().await;
    let (id, channel) = held(desk.core.me, true);
    let stranger = desk.stranger;
    desk.core.add_channel(id, channel, true);
    let nowhere = "127.0.0.1:1".parse().unwrap();
    desk.core.learn_peer(id, stranger, &[nowhere], Source::Link);
    // Who is there from the start is not told of.
    desk.core.graph_event(id, samara_graph::Event::Tick);
    let is_due = |desk: &Desk, at| desk.core.channels[&id].known[&stranger].is_due(at);
    let minute = Duration::from_secs(60);
    for minutes in [1, 2, 4, 8, 16, 30, 30] {
        let before = std::time::Instant::now();
        desk.core.greet(id, stranger);
        let moment = Duration::from_millis(1);
        assert!(!is_due(&desk, before + minutes * minute - moment));
        assert!(is_due(&desk, std::time::Instant::now() + minutes * minute));
    }
    assert!(desk.core.channels[&id].greeted.is_empty());
    let owner = samara_graph::SecretKey::from_bytes(&[77; 32]);
    let until = WallMs(wall_ms()).after(minute);
    let grant = samara_graph::NewRecord {
        channel: id,
        kind: samara_graph::Kind::GRANT,
        seq: 1,
        created: WallMs(wall_ms()),
        expires: until,
        priority: 0,
        key: desk.core.me.as_bytes().to_vec().into(),
        attributes: Default::default(),
        body: samara_graph::body::Grant {
            role: samara_graph::Role::Member,
            parent: None,
            until,
            kinds: Default::default(),
            renewable: false,
            replaces: None,
        }
        .encode()
        .into(),
    };
    let grant = grant.sign(&owner).unwrap().bytes().clone();
    desk.core.offer_records(id, vec![grant]).unwrap()[0].unwrap();
    // It comes in when it is on the disk; then the connection that is there is used.
    loop {
        let input = desk.queue.recv().await.unwrap();
        let stored = matches!(input, Input::RecordStored { .. });
        desk.core.handle(input);
        if stored {
            break;
        }
    }
    assert!(is_due(&desk, std::time::Instant::now()));
    desk.core.dial_round();
    assert!(desk.core.channels[&id].greeted.contains(&stranger));
    desk.until_called().await;
    let asked = &desk.core.sessions[&stranger].doors.asked;
    assert_eq!(*asked, [id].into());
}
