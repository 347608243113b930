//! A newcomer fetches a channel of many members: what gives the rights comes before
//! what stands by them, so nothing is fetched twice and nothing waits for a second round.

use std::time::Duration;

use bytes::Bytes;
use samara_graph::{
    Attributes, Kind, Link, LinkPeer, NewRecord, Publishers, Record, Role, SecretKey, WallMs,
    body::Grant, limits,
};
use samara_wire::{ChannelId, PeerId};

use crate::world::{self, START, World, addr, chain, charter, id};

const DAY: Duration = Duration::from_secs(24 * 3600);
const ADMINS: u64 = 10;
const MEMBERS: u64 = 1000;
const NOTES: u64 = 5000;

/// The keys of the members of this test; the nodes have others.
fn member(n: u64) -> SecretKey {
    let mut bytes = [0xee; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    SecretKey::from_bytes(&bytes)
}

fn grant(
    channel: ChannelId,
    by: &SecretKey,
    seq: u64,
    created: WallMs,
    to: PeerId,
    parent: Option<&Record>,
) -> Record {
    let role = match parent {
        None => Role::Admin,
        Some(_) => Role::Member,
    };
    let grant = Grant {
        role,
        parent: parent.map(Record::id),
        until: WallMs(START).after(90 * DAY),
        kinds: [].into(),
        renewable: true,
        replaces: None,
    };
    let new = NewRecord {
        channel,
        kind: Kind::GRANT,
        seq,
        created,
        // As grants are: an admin's lasts, and the others' end together.
        expires: match role {
            Role::Admin => WallMs(limits::MAX_TIME_MS),
            _ => WallMs(START).after(90 * DAY),
        },
        priority: 0,
        key: Bytes::copy_from_slice(to.as_bytes()),
        attributes: Attributes::default(),
        body: grant.encode().into(),
    };
    new.sign(by).unwrap()
}

/// The owner names ten admins, who let in a hundred members each, who write.
fn records(channel: ChannelId) -> Vec<Record> {
    let at = |ms: u64| WallMs(START - 10 * 60_000 + ms);
    let mut all = Vec::new();
    for a in 0..ADMINS {
        let admin = member(MEMBERS + a);
        let named = grant(channel, &world::key(0), a + 1, at(a), admin.peer_id(), None);
        for n in (a..MEMBERS).step_by(ADMINS as usize) {
            let (to, when) = (member(n).peer_id(), at(1000 + n));
            all.push(grant(channel, &admin, n + 1, when, to, Some(&named)));
        }
        all.push(named);
    }
    for n in 0..NOTES {
        let new = NewRecord {
            channel,
            kind: Kind(70_000),
            seq: n + 1,
            created: at(5000 + n),
            expires: WallMs(START).after(DAY),
            priority: 0,
            key: Bytes::from_static(b"note"),
            attributes: Attributes::default(),
            body: Bytes::from_static(b"body"),
        };
        all.push(new.sign(&member(n % MEMBERS)).unwrap());
    }
    all
}

/// A newcomer that dials `sources` members, and what it holds soon after.
fn first_sync(sources: usize, latency: Option<fn(usize, usize) -> Duration>) {
    let mut charter = charter(1);
    charter.publishers = Publishers::Members;
    let mut w = World::new(1, sources, sources, &charter);
    w.latency = latency.unwrap_or(w.latency);
    let all = records(chain(&charter).channel());
    for at in 0..sources {
        let disk = &mut w.nodes[at].disk;
        for record in &all {
            disk.insert(
                record.id(),
                (record.header().unwrap(), record.bytes().clone()),
            );
        }
        w.restart(at);
        assert_eq!(w.nodes[at].graph.status().records, all.len());
    }
    let peers = (0..sources).map(|n| LinkPeer {
        peer: id(n),
        addrs: vec![addr(n)],
    });
    let peers: Vec<_> = peers.collect();
    let chain = chain(&charter);
    let newcomer = w.add(&Link::new(chain.channel(), chain.reference(), &peers));
    // Less than until anybody is compared with again.
    w.run(limits::RECONCILE_PAUSE / 2);
    let status = w.nodes[newcomer].graph.status();
    assert_eq!(
        (status.deferred_dropped, status.waiting, status.records),
        (0, 0, all.len()),
        "dropped, waiting and held"
    );
    assert!(w.nodes[newcomer].synchronized > 0);
    assert_eq!(status.duplicates, 0, "records fetched twice");
}

#[test]
fn a_newcomer_of_one_member_loses_nothing() {
    first_sync(1, None);
}

#[test]
fn a_newcomer_of_three_members_loses_nothing() {
    first_sync(3, None);
}

/// What the first was asked for is on its way for long; the others do not run ahead of
/// it by more than may wait.
#[test]
fn a_newcomer_of_a_slow_member_and_a_fast_one_loses_nothing() {
    first_sync(
        2,
        Some(|at, to| match at.min(to) {
            0 => Duration::from_millis(700),
            _ => Duration::from_millis(1),
        }),
    );
}
