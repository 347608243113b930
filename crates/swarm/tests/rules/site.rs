//! One copy for all members of a site, urgent contents, and orders.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use samara_content::ChunkSet;
use samara_swarm::{Action, ContentKey, Event, Message, Order, Role, SiteId, Tier};
use samara_wire::PeerId;

use crate::node::*;

const CHUNKS: u32 = 64;

fn join(node: &mut Node, peer: PeerId, tier: Tier, site: Option<SiteId>) {
    node.tell(Event::PeerJoined {
        key: KEY,
        peer,
        tier,
        site,
    });
}

/// A receiver with A elsewhere, which has everything, and B and C in the site.
fn member() -> Node {
    let mut node = Node::receiver(CHUNKS);
    join(&mut node, A, Tier::Elsewhere, None);
    for mate in [B, C] {
        join(&mut node, mate, Tier::Site, None);
        node.hear(mate, Message::Want(64_000));
    }
    node.hear(A, Message::Have(ChunkSet::full(CHUNKS)));
    node
}

/// All chunks that it asks A for, given all the credit it wants.
fn asked(node: &mut Node) -> BTreeSet<u32> {
    let out = node.hear(A, grant(CHUNKS));
    requests(&out).into_iter().map(|r| r.2).collect()
}

#[test]
fn a_member_fetches_its_share_and_waits_for_the_others() {
    let mut node = member();
    let share = asked(&mut node);
    assert!((10..=32).contains(&share.len()), "{share:?}");
    for chunk in &share {
        node.arrive(A, *chunk);
        node.store(*chunk);
    }
    assert!(asked(&mut node).is_empty(), "the rest is the others'");
    // One of them goes: its share is divided.
    node.leave(B);
    let more = asked(&mut node);
    assert!(!more.is_empty() && more.len() < CHUNKS as usize - share.len());
    node.leave(C);
    assert_eq!(
        more.len() + share.len() + asked(&mut node).len(),
        CHUNKS as usize
    );
}

/// What A, B and C are told of in this time.
fn told(node: &mut Node, time: Duration) -> [Vec<u32>; 3] {
    let said = messages(&node.wait(time));
    [A, B, C].map(|peer| {
        let of_peer = said.iter().filter(|(to, _)| *to == peer);
        let chunks = of_peer.filter_map(|(_, msg)| match msg {
            Message::HaveMore(chunks) => Some(chunks.clone()),
            _ => None,
        });
        chunks.flatten().collect()
    })
}

#[test]
fn those_beyond_the_way_out_hear_of_news_seldom() {
    let ms = Duration::from_millis;
    let mut node = member();
    node.store(0);
    assert_eq!(told(&mut node, ms(10)), [vec![], vec![0], vec![0]]);
    assert_eq!(told(&mut node, ms(10)), [vec![0], vec![], vec![]]);
    node.store(1);
    node.store(2);
    assert_eq!(told(&mut node, ms(20)), [vec![], vec![1, 2], vec![1, 2]]);
    assert_eq!(told(&mut node, ms(470)), [vec![], vec![], vec![]]);
    assert_eq!(told(&mut node, ms(10)), [vec![1, 2], vec![], vec![]]);
    // Enough of them do not wait: three members tell one peer.
    for chunk in 3..33 {
        node.store(chunk);
    }
    assert_eq!(told(&mut node, ms(20))[0], Vec::from_iter(3..33));
}

#[test]
fn nobody_misses_news_when_mates_leave_and_nobody_hears_them_twice() {
    let ms = Duration::from_millis;
    let mut node = member();
    node.store(0);
    assert_eq!(told(&mut node, ms(20))[0], [0]);
    node.store(1);
    assert_eq!(told(&mut node, ms(20)), [vec![], vec![1], vec![1]]);
    node.leave(B);
    node.leave(C);
    // There is no way out to share any more, and these are news to A like the last.
    node.store(2);
    assert_eq!(told(&mut node, ms(20))[0], [2]);
    let late = told(&mut node, ms(500));
    assert_eq!(late, [vec![1], vec![], vec![]]);
    node.store(3);
    assert_eq!(told(&mut node, ms(1000)), [vec![3], vec![], vec![]]);
}

#[test]
fn who_comes_from_beyond_hears_no_old_news() {
    let ms = Duration::from_millis;
    let mut node = Node::receiver(CHUNKS);
    join(&mut node, B, Tier::Site, None);
    node.store(0);
    assert_eq!(told(&mut node, ms(20)), [vec![], vec![0], vec![]]);
    join(&mut node, A, Tier::Elsewhere, None);
    node.store(1);
    assert_eq!(told(&mut node, ms(20)), [vec![1], vec![1], vec![]]);
}

#[test]
fn what_the_others_do_not_fetch_in_twice_the_time_is_fetched_all_the_same() {
    let mut node = member();
    let share = asked(&mut node);
    node.now += Duration::from_secs(2);
    for chunk in &share {
        node.arrive(A, *chunk);
        node.store(*chunk);
    }
    assert!(asked(&mut node).is_empty());
    let out = node.wait(Duration::from_secs(6));
    assert!(
        messages(&out)
            .iter()
            .any(|(peer, msg)| *peer == A && matches!(msg, Message::Want(_)))
    );
    assert_eq!(asked(&mut node).len() + share.len(), CHUNKS as usize);
}

#[test]
fn what_a_member_has_is_not_fetched_from_elsewhere() {
    let mut node = member();
    let mut whole = Node::receiver(CHUNKS);
    join(&mut whole, A, Tier::Elsewhere, None);
    node.hear(B, Message::Have(ChunkSet::full(CHUNKS)));
    assert!(asked(&mut node).is_empty());
    let suggested = Message::Grant {
        bytes: 1000,
        suggested: vec![5],
    };
    assert!(requests(&node.hear(A, suggested)).is_empty());
    assert_eq!(
        requests(&node.hear(B, grant(CHUNKS))).len(),
        CHUNKS as usize
    );
}

#[test]
fn a_seeder_suggests_each_chunk_to_one_member_of_a_site() {
    let mut node = Node::seeder(CHUNKS);
    for peer in [A, B, C] {
        join(&mut node, peer, Tier::Elsewhere, Some(SiteId(1)));
    }
    let mut seen = BTreeSet::new();
    let mut out: Vec<Action> = Vec::new();
    for peer in [A, B, C] {
        out.extend(node.hear(peer, Message::Want(64_000)));
    }
    for _ in 0..100 {
        let mut then = Vec::new();
        for (peer, msg) in messages(&out) {
            let Message::Grant { suggested, .. } = msg else {
                continue;
            };
            for chunk in &suggested {
                assert!(seen.insert(*chunk), "{chunk} twice into the site");
            }
            if !suggested.is_empty() {
                node.ask(peer, &suggested);
                then.extend(node.deliver(peer, &suggested, Duration::from_millis(1)));
            }
        }
        out = then;
    }
    assert_eq!(seen.len(), CHUNKS as usize);
}

fn add(node: &mut Node, key: ContentKey, priority: u8, order: Order) {
    node.tell(Event::ContentAdded {
        stripes: None,
        key,
        chunk_sizes: Arc::from(vec![CHUNK; CHUNKS as usize]),
        have: ChunkSet::new(CHUNKS),
        wanted: None,
        role: Role::Member,
        priority,
        order,
    });
    node.tell(Event::PeerJoined {
        key,
        peer: A,
        tier: Tier::Site,
        site: None,
    });
    let msg = Message::Have(ChunkSet::full(CHUNKS));
    node.tell(Event::Message {
        peer: A,
        key,
        msg,
        room: None,
    });
}

#[test]
fn an_urgent_content_overtakes_and_then_lets_pass() {
    let (bulk, urgent) = (ContentKey(7), ContentKey(8));
    let mut node = Node::receiver(1);
    add(&mut node, bulk, 0, Order::Rarest);
    add(&mut node, urgent, 9, Order::Rarest);
    let granted = |node: &mut Node, key| {
        let out = node.tell(Event::Message {
            peer: A,
            key,
            msg: grant(1),
            room: None,
        });
        requests(&out)
    };
    assert_eq!(
        granted(&mut node, bulk).len(),
        1,
        "nothing urgent is on its way"
    );
    let chunk = granted(&mut node, urgent)[0].2;
    let yields_to = |node: &Node, key| node.swarm.progress(key).unwrap().yields_to;
    assert_eq!(yields_to(&node, bulk), None, "it still is on its way");
    assert!(granted(&mut node, bulk).is_empty());
    assert_eq!(yields_to(&node, bulk), Some(urgent));
    assert_eq!(yields_to(&node, urgent), None);
    node.tell(Event::ChunkArrived {
        key: urgent,
        chunk,
        peer: A,
        bytes: CHUNK,
    });
    let out = node.wait(Duration::from_millis(200));
    let wants = |action: &Action| matches!(action, Action::Send { key, msg: Message::Want(_), .. } if *key == bulk);
    assert!(out.iter().any(wants));
    assert_eq!(yields_to(&node, bulk), None);
    assert_eq!(granted(&mut node, bulk).len(), 1);
}

#[test]
fn content_that_is_used_at_once_comes_in_order() {
    let key = ContentKey(7);
    let mut node = Node::receiver(1);
    add(&mut node, key, 0, Order::Stream);
    let out = node.tell(Event::Message {
        peer: A,
        key,
        msg: grant(5),
        room: None,
    });
    let chunks: Vec<u32> = requests(&out).into_iter().map(|r| r.2).collect();
    assert_eq!(chunks, [0, 1, 2, 3, 4]);
}

#[test]
fn a_thousand_contents_at_rest_want_no_time() {
    let mut node = Node::seeder(4);
    for key in 100..1100 {
        node.tell(Event::ContentAdded {
            stripes: None,
            key: ContentKey(key),
            chunk_sizes: Arc::from([CHUNK; 4]),
            have: ChunkSet::full(4),
            wanted: None,
            role: Role::Member,
            priority: 0,
            order: Order::Rarest,
        });
        node.tell(Event::PeerJoined {
            key: ContentKey(key),
            peer: A,
            tier: Tier::Site,
            site: None,
        });
    }
    assert_eq!(node.swarm.next_timeout(), None);
}
