//! What the most that an adversary may make others hold costs them for each event:
//! counted, not timed.

use std::{collections::BTreeSet, time::Duration};

use samara_wire::{PeerId, RecordId};

use super::{Config, Event, Graph, Reject};
use crate::{
    Attributes, Charter, CharterChain, Control, Kind, Publishers, RecordHeader, Role, SecretKey,
    WallMs,
    body::{Grant, Invite, Retraction},
    limits,
    member::{Denied, steps::counted},
};

const NOW: WallMs = WallMs(1_735_689_600_000);
const DAY: Duration = Duration::from_secs(86_400);
/// What an event may look at, whoever holds how much: some look-ups.
const FEW: u64 = 40;

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

fn id(n: u8) -> PeerId {
    key(n).peer_id()
}

/// The owner is 1, admins are 2 to 9; all members write.
fn charter() -> Charter {
    let mut charter = Charter::open("x", id(1), NOW, [0; 16]);
    charter.admins = (2..10).map(id).collect();
    charter.publishers = Publishers::Members;
    charter
}

fn graph(held: impl IntoIterator<Item = RecordHeader>) -> Graph {
    let chain = CharterChain::new(charter().sign(&[&key(1)]).unwrap()).unwrap();
    let mut graph = Graph::restore(chain, held, Config::new(id(100), 1));
    // What was held from the start is looked through once.
    graph.handle(NOW, DAY, Event::Tick, &mut Vec::new());
    graph
}

fn header(author: PeerId, seq: u64, key: &[u8], control: Control) -> RecordHeader {
    let name = format!("{author:?} {seq} {key:?} {control:?}");
    RecordHeader {
        id: RecordId(blake3::hash(name.as_bytes()).into()),
        author,
        kind: match control {
            Control::Grant(_) => Kind::GRANT,
            Control::Invite(_) => Kind::INVITE,
            Control::Redemption { .. } => Kind::REDEMPTION,
            _ => Kind::RETRACTION,
        },
        seq,
        created: WallMs(NOW.0 - 60_000 + seq),
        expires: NOW.after(90 * DAY),
        priority: 0,
        len: 300,
        key: key.into(),
        attributes: Attributes::default(),
        control: Some(Box::new(control)),
    }
}

/// All due, and each for a moment longer than the one before; some take the place of
/// the others.
fn grants(by: u8, to: u8, seqs: std::ops::Range<u64>) -> impl Iterator<Item = RecordHeader> {
    seqs.map(move |seq| {
        let grant = Grant {
            role: Role::Member,
            parent: None,
            until: NOW.after(Duration::from_millis(10_000 + seq)),
            kinds: [].into(),
            renewable: true,
            replaces: (seq % 7 == 0).then_some(seq % 100),
        };
        header(id(by), seq, id(to).as_bytes(), Control::Grant(grant))
    })
}

/// One that the others say they are not.
fn nobody(n: u64) -> PeerId {
    PeerId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

/// What an event costs that brings this record, and what is asked at each.
fn event(graph: &mut Graph, peer: &PeerId, record: RecordHeader) -> u64 {
    let charter = charter();
    let (steps, _) = counted(|| {
        graph.records.judge(&charter, &record.view()).unwrap();
        graph.records.place(&charter, NOW, record).unwrap();
        graph.review(&mut Vec::new());
        graph.role_of(peer, NOW);
        graph.may_read(peer, NOW);
        graph.can(peer, Kind(70_000), NOW);
        graph.is_out(peer);
        graph.credentials(peer, NOW);
    });
    steps
}

/// What it costs to see that there is no room for a record.
fn refused(graph: &Graph, record: &RecordHeader) -> u64 {
    let charter = charter();
    let (steps, judged) = counted(|| graph.records.judge(&charter, &record.view()));
    assert_eq!(judged, Err(Denied::Reject(Reject::Quota)));
    steps
}

#[test]
fn in_a_full_channel_an_event_looks_at_who_gives_way_and_not_at_everybody() {
    let mut charter = charter();
    charter.limits.records_total = 2000;
    let mut held: Vec<_> = Vec::new();
    let note = |by: PeerId, seq: u64, control: Option<Control>| RecordHeader {
        kind: control.as_ref().map_or(Kind(70_000), |_| Kind::RETRACTION),
        expires: NOW.after(DAY),
        control: control.map(Box::new),
        ..header(by, seq, &[], Control::Time { at: NOW })
    };
    let gone = |seq: u64| Retraction {
        kind: Kind(70_001),
        key: [].into(),
        up_to: seq,
    };
    for n in 0..1000 {
        let grant = Grant {
            role: Role::Member,
            parent: None,
            until: NOW.after(DAY),
            kinds: [].into(),
            renewable: false,
            replaces: None,
        };
        held.push(header(
            id(3),
            n,
            nobody(n).as_bytes(),
            Control::Grant(grant),
        ));
        held.extend((1..3).map(|seq| note(nobody(n), seq, None)));
        let retractions =
            (3..8).map(|seq| note(nobody(n), seq, Some(Control::Retraction(gone(1)))));
        held.extend(retractions);
    }
    let mut graph = graph(held);
    // What was too much already goes with the first.
    graph
        .records
        .place(&charter, NOW, note(nobody(500), 10, None))
        .unwrap();
    let most = limits::LEAST_CONTROL_TOTAL as usize;
    assert_eq!(graph.records.len(), 1000 + 2000 + most);
    for n in 0..50 {
        for control in [None, Some(Control::Retraction(gone(1)))] {
            let more = note(nobody(n), 10 + u64::from(control.is_some()), control);
            let (steps, _) = counted(|| graph.records.place(&charter, NOW, more));
            assert!(steps <= FEW, "{steps}");
        }
    }
    assert_eq!(graph.records.len(), 1000 + 2000 + most);
}

#[test]
fn thousands_of_grants_to_one_cost_an_event_no_more_than_one_does() {
    let each = limits::MAX_GRANTS_TO_ONE as u64 - 20;
    let held = (2..10).flat_map(|by| grants(by, 50, 1..each));
    let mut graph = graph(held);
    assert_eq!(graph.records.len() as u64, 8 * (each - 1));
    // One that takes the place of others looks once at each that it replaces.
    let more = grants(2, 50, each..each + 20);
    let steps: u64 = more.map(|more| event(&mut graph, &id(50), more)).sum();
    assert!(steps <= 20 * FEW, "{steps}");
    let note = RecordHeader {
        kind: Kind(70_000),
        expires: NOW.after(DAY),
        control: None,
        ..header(id(50), 5000, &[], Control::Time { at: NOW })
    };
    let steps = event(&mut graph, &id(50), note);
    assert!(steps <= FEW, "{steps}");
    let (steps, members) = counted(|| graph.members(NOW));
    assert_eq!(members.len(), 10);
    assert!(steps <= 10 * FEW, "{steps}");
    // As many as there may be: an earlier one takes the place of the last, a later one is
    // not taken.
    let most = limits::MAX_GRANTS_TO_ONE as u64;
    let held = (2..10).flat_map(|by| grants(by, 50, 1000..1000 + most));
    let mut graph = self::graph(held);
    for earlier in grants(2, 50, 501..521).filter(|h| h.seq % 7 != 0) {
        let steps = event(&mut graph, &id(50), earlier);
        assert!(steps <= FEW, "{steps}");
    }
    assert_eq!(graph.records.len() as u64, 8 * most);
    for later in grants(2, 50, 9000..9020) {
        let steps = refused(&graph, &later);
        assert!(steps <= FEW, "{steps}");
    }
}

#[test]
fn as_many_places_as_there_can_be_cost_an_event_no_more_than_it_takes_itself() {
    let most = limits::MAX_PLACES;
    let grant = |to: u64, seq: u64| {
        let grant = Grant {
            role: Role::Member,
            parent: None,
            until: NOW.after(DAY),
            kinds: [].into(),
            renewable: false,
            replaces: None,
        };
        header(id(2), seq, nobody(to).as_bytes(), Control::Grant(grant))
    };
    let invite = |uses: u32, seq: u64| {
        let invite = Invite {
            role: Role::Member,
            parent: None,
            uses,
            until: NOW.after(DAY),
            kinds: [].into(),
            renewable: false,
        };
        header(id(2), seq, id(80).as_bytes(), Control::Invite(invite))
    };
    // Even sequences, so that there is room between them.
    let mut graph = graph((0..most).map(|n| grant(n, 2 * n)));
    assert_eq!(graph.records.len() as u64, most);
    let middle = most + 1;
    for n in 0..50 {
        let steps = event(&mut graph, &nobody(7), grant(most + n, middle + 2 * n));
        assert!(steps <= FEW, "{steps}");
        let steps = refused(&graph, &grant(most + n, 2 * most + n));
        assert!(steps <= FEW, "{steps}");
    }
    assert_eq!(graph.records.len() as u64, most);
    // What it takes from others, or would.
    let uses = limits::MAX_INVITE_USES;
    let steps = refused(&graph, &invite(uses, 2 * (most - 100) - 1));
    assert!(steps <= u64::from(uses) + FEW, "{steps}");
    let steps = event(&mut graph, &nobody(7), invite(uses, 1));
    assert_eq!(graph.records.len() as u64, most + 1 - u64::from(uses));
    assert!(steps <= u64::from(uses) * FEW, "{steps}");
    // Neither do they cost anything else that their author writes.
    let gone = Retraction {
        kind: Kind(70_001),
        key: [].into(),
        up_to: 5,
    };
    for seq in (0..20).map(|n| middle + 1000 + 2 * n) {
        let record = header(id(2), seq, &[], Control::Retraction(gone.clone()));
        let steps = event(&mut graph, &nobody(7), record);
        assert!(steps <= FEW, "{steps}");
    }
}

#[test]
fn who_may_renew_nothing_looks_at_nothing_and_who_may_at_what_is_due() {
    let mut held: Vec<_> = grants(2, 50, 1..1000).collect();
    // Over, and not due for long.
    for (n, until) in (0..2000).map(|n| (n, [NOW.0 - 50_000, NOW.after(80 * DAY).0][n % 2])) {
        let grant = Grant {
            role: Role::Member,
            parent: None,
            until: WallMs(until),
            kinds: [].into(),
            renewable: true,
            replaces: None,
        };
        let whom = nobody(n as u64);
        held.push(header(
            id(3),
            n as u64,
            whom.as_bytes(),
            Control::Grant(grant),
        ));
    }
    let graph = graph(held);
    let (steps, drafts) = counted(|| graph.renewals(NOW, &id(50)));
    assert!(drafts.is_empty() && steps <= FEW, "{steps}");
    // Each that is due is looked at, and what its subject has beside it: of all that
    // one identity was given one is renewed.
    let (steps, drafts) = counted(|| graph.renewals(NOW, &id(2)));
    assert_eq!(drafts.len(), 1);
    assert!(steps <= 2 * 1000 + FEW, "{steps}");
    let later = NOW.after(DAY);
    let (steps, drafts) = counted(|| graph.renewals(later, &id(3)));
    assert!(drafts.is_empty() && steps <= FEW, "{steps}");
}

#[test]
fn as_many_redemptions_as_there_can_be_cost_an_event_a_look_at_each_place() {
    let one_time = key(80).peer_id();
    let uses = limits::MAX_INVITE_USES;
    let invite = Invite {
        role: Role::Member,
        parent: None,
        uses,
        until: NOW.after(DAY),
        kinds: [].into(),
        renewable: true,
    };
    let invite = header(id(2), 1, one_time.as_bytes(), Control::Invite(invite));
    let redemption = |joiner: u64, seq: u64| {
        let control = Control::Redemption { invite: invite.id };
        header(nobody(joiner), seq, one_time.as_bytes(), control)
    };
    let each = limits::MAX_REDEMPTIONS_PER_AUTHOR;
    let joiners = 0..u64::from(uses);
    let all = joiners.flat_map(|joiner| (1..each).map(move |seq| (joiner, seq)));
    let all = all.map(|(joiner, seq)| redemption(joiner, seq));
    let mut graph = graph([invite.clone()].into_iter().chain(all));
    assert_eq!(graph.records.len() as u64, 1 + u64::from(uses) * (each - 1));
    let steps = event(&mut graph, &nobody(7), redemption(7, each));
    assert!(steps <= FEW, "{steps}");
    // One more identity than there are places: those are compared.
    let charter = charter();
    let beyond = (5000..5050).map(|joiner| redemption(joiner, 1));
    for record in beyond {
        let (steps, _) = counted(|| graph.records.place(&charter, NOW, record));
        // Whose place goes, its redemptions go.
        assert!(steps <= 2 * u64::from(uses) + 2 * each + FEW, "{steps}");
    }
    // Only who invited looks at them: they are due, all of them.
    let (steps, drafts) = counted(|| graph.renewals(NOW, &nobody(7)));
    assert!(drafts.is_empty() && steps <= FEW, "{steps}");
    let (steps, drafts) = counted(|| graph.renewals(NOW, &id(2)));
    let subjects: BTreeSet<_> = drafts.iter().map(|d| d.key.clone()).collect();
    assert_eq!(subjects.len(), limits::MAX_RENEWALS);
    assert!(steps <= 3 * u64::from(uses) * each, "{steps}");
}

#[test]
fn as_many_leaves_as_there_can_be_cost_an_event_no_more_than_one_does() {
    let most = limits::MAX_CONTROL_PER_AUTHOR as u64;
    let leave = |seq: u64| {
        let leave = header(
            id(50),
            seq,
            id(50).as_bytes(),
            Control::Retraction(Retraction::leave(&id(50))),
        );
        RecordHeader {
            expires: WallMs(limits::MAX_TIME_MS),
            ..leave
        }
    };
    let held = grants(2, 50, 1..1000).chain((2000..2000 + most - 20).map(leave));
    let mut graph = graph(held);
    assert_eq!(graph.records.len() as u64, 999 + most - 20);
    assert_eq!(graph.role_of(&id(50), NOW), None);
    for more in (5000..5020).map(leave) {
        let steps = event(&mut graph, &id(50), more);
        assert!(steps <= FEW, "{steps}");
    }
    for more in grants(3, 50, 6000..6020) {
        let replaces =
            matches!(more.control.as_deref(), Some(Control::Grant(g)) if g.replaces.is_some());
        let steps = event(&mut graph, &id(50), more);
        // What takes rights away has the holder's own records judged again.
        let own = if replaces { most } else { 0 };
        assert!(steps <= own + FEW, "{steps}");
    }
    assert!(graph.role_of(&id(50), NOW).is_some());
}
