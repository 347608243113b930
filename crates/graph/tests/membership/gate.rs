//! The gate of a private channel: what passes it, and what does not.

use std::time::Duration;

use samara_graph::{
    Access, Action, CharterChain, Config, Event, Gate, GateError, Graph, LeaveReason, Message,
    NewRecord, Proof, Record, RecordError, Refusal, Reject, Role, WallMs, body::Grant, limits,
};
use samara_wire::{ChannelId, WireError};

use crate::{
    club::{
        DAY, admin, below, granted, id, invited, new_grant, new_invite, note, nothing, private,
        redeemed, revoked,
    },
    lone::{HOUR, Lone, NOW, key},
};

const EXPORTER: [u8; 32] = [7; 32];

fn house() -> Lone {
    Lone::of(&private())
}

fn proof(l: &Lone, records: &[&Record]) -> Proof {
    Proof {
        charter: l.graph.charters().unwrap().reference(),
        records: records.iter().map(|r| (*r).clone()).collect(),
    }
}

fn check(l: &mut Lone, n: u8, records: &[&Record]) -> Result<Access, Refusal> {
    let proof = proof(l, records);
    l.act(|g, now, out| g.check_proof(now, &id(n), &proof, out))
}

/// As if a member had brought it.
fn hold(l: &mut Lone, records: &[&Record]) {
    l.event(Event::NeighbourUp { peer: id(1) });
    for r in records {
        l.say(1, Message::Record(r.bytes().clone()));
    }
    let held: Vec<_> = records.iter().filter(|r| !l.holds(r)).collect();
    assert_eq!(held, Vec::<&&Record>::new());
}

#[test]
fn a_tag_is_of_one_channel_one_connection_and_one_direction() {
    let (c, a, b) = (ChannelId([1; 32]), id(1), id(2));
    let gate = Gate::new(c, &EXPORTER, &a, &b);
    assert_eq!(gate.tag(), Gate::new(c, &EXPORTER, &a, &b).tag());
    assert!(gate.knows(&gate.tag()));
    for other in [
        Gate::new(ChannelId([2; 32]), &EXPORTER, &a, &b),
        Gate::new(c, &[8; 32], &a, &b),
        Gate::new(c, &EXPORTER, &b, &a),
        Gate::new(c, &EXPORTER, &a, &id(3)),
    ] {
        assert!(!gate.knows(&other.tag()));
        let sealed = gate.seal(&proof(&house(), &[])).unwrap();
        // A proof of another connection, replayed, or one's own, sent back.
        assert_eq!(other.open(&sealed), Err(GateError::Forged));
    }
    assert_eq!(format!("{gate:?}"), "Gate(..)");
}

#[test]
fn a_sealed_proof_says_nothing_by_its_length_and_is_read_whole_or_not() {
    let l = house();
    let gate = Gate::new(l.channel(), &EXPORTER, &id(1), &id(2));
    let a = admin(l.channel(), 1, 2);
    let (short, long) = (proof(&l, &[]), proof(&l, &[&a, &a, &a]));
    let (one, two) = (gate.seal(&short).unwrap(), gate.seal(&long).unwrap());
    assert_eq!(
        (one.len(), two.len()),
        (limits::PROOF_PAGE, limits::PROOF_PAGE)
    );
    assert_eq!(gate.open(&one), Ok(short.clone()));
    assert_eq!(gate.open(&two), Ok(long));
    assert_eq!(gate.seal(&short).unwrap(), one, "the same is the same");
    for at in [0, 11, 12, 100, one.len() - 1] {
        let mut bent = one.clone();
        bent[at] ^= 1;
        assert_eq!(gate.open(&bent), Err(GateError::Forged));
    }
    for cut in [0, 11, 12, 27, 28, one.len() - 1] {
        assert_eq!(gate.open(&one[..cut]), Err(GateError::Forged));
    }
    let padded = vec![0; limits::MAX_SEALED_PROOF + 1];
    assert_eq!(gate.open(&padded), Err(GateError::TooLarge));
    assert_eq!(gate.open(&padded[1..]), Err(GateError::Forged));
}

/// Records of any size fill a proof to the byte.
fn filled(l: &Lone, bytes: usize) -> Proof {
    let with = |body: usize| {
        let new = NewRecord {
            body: vec![0; body].into(),
            ..crate::lone::new_record(l.channel(), 1)
        };
        let record = new.sign(&key(1)).unwrap();
        proof(l, &[&record])
    };
    let over = with(10_000).encode().len() - 10_000;
    let filled = with(bytes - over);
    assert_eq!(filled.encode().len(), bytes);
    filled
}

#[test]
fn a_proof_is_as_large_as_it_may_be_and_no_larger() {
    let l = house();
    let gate = Gate::new(l.channel(), &EXPORTER, &id(1), &id(2));
    let most = filled(&l, limits::MAX_PROOF_BYTES);
    let sealed = gate.seal(&most).unwrap();
    assert_eq!(sealed.len(), limits::MAX_SEALED_PROOF);
    assert_eq!(gate.open(&sealed), Ok(most));
    let more = filled(&l, limits::MAX_PROOF_BYTES + 1);
    assert_eq!(gate.seal(&more), Err(GateError::TooLarge));
    assert_eq!(Proof::decode(&more.encode()), Err(GateError::TooLarge));
    // To the byte: one more makes another page.
    let page = limits::PROOF_PAGE - limits::PROOF_OVERHEAD;
    let record = filled(&l, 10_000 + page);
    assert!(gate.open(&gate.seal(&record).unwrap()).is_ok());
}

#[test]
fn a_proof_shows_a_full_chain_and_no_more_and_every_signature_counts() {
    let l = house();
    let a = admin(l.channel(), 1, 2);
    let most = proof(&l, &[&a; limits::MAX_PROOF_RECORDS]);
    assert_eq!(Proof::decode(&most.encode()), Ok(most));
    let more = proof(&l, &[&a; limits::MAX_PROOF_RECORDS + 1]);
    let refused = Proof::decode(&more.encode());
    assert!(matches!(
        refused,
        Err(GateError::Wire(WireError::TooLarge { .. }))
    ));
    let mut forged = proof(&l, &[&a]).encode();
    *forged.last_mut().unwrap() ^= 1;
    let refused = Err(GateError::Record(RecordError::BadSignature));
    assert_eq!(Proof::decode(&forged), refused);
}

#[test]
fn whom_the_charter_names_needs_to_show_nothing_and_a_stranger_has_nothing_to_show() {
    let mut l = house();
    let owner = Access::Member {
        role: Role::Owner,
        until: WallMs(limits::MAX_TIME_MS),
    };
    assert_eq!(check(&mut l, 1, &[]), Ok(owner));
    assert_eq!(check(&mut l, 9, &[]), Err(Refusal::NotMember));
    l.event(Event::NeighbourUp { peer: id(9) });
    let reason = LeaveReason::Lapsed;
    assert_eq!(
        l.out,
        [Action::Expel {
            peer: id(9),
            reason
        }]
    );
}

#[test]
fn a_chain_lets_its_end_in_and_nobody_else() {
    let mut l = house();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let m = granted(c, 2, 1, 6, &below(&a, Role::Member));
    assert_eq!(check(&mut l, 7, &[&m, &a]), Err(Refusal::NotTheirs));
    assert_eq!(check(&mut l, 6, &[&m]), Err(Refusal::Incomplete));
    assert_eq!(check(&mut l, 2, &[&m, &a]), Err(Refusal::NotTheirs));
    let until = NOW.after(7 * DAY);
    let role = Role::Member;
    assert_eq!(
        check(&mut l, 6, &[&m, &a]),
        Ok(Access::Member { role, until })
    );
    // What was shown is held from now on, so it need not be shown again.
    assert!(l.holds(&m) && l.holds(&a));
    assert_eq!(check(&mut l, 6, &[]), Ok(Access::Member { role, until }));
    l.event(Event::NeighbourUp { peer: id(6) });
    assert!(l.graph.neighbours().any(|p| p == id(6)));
}

#[test]
fn a_chain_is_held_to_the_rules_of_records() {
    let mut l = house();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let refused = |l: &mut Lone, records: &[&Record]| check(l, 6, records).unwrap_err();
    let wide = granted(c, 2, 1, 6, &below(&a, Role::Admin));
    assert_eq!(
        refused(&mut l, &[&wide, &a]),
        Refusal::Record(Reject::Widens)
    );
    let by_nobody = granted(c, 8, 1, 6, &new_grant(Role::Member));
    assert_eq!(
        refused(&mut l, &[&by_nobody]),
        Refusal::Record(Reject::NoAuthority)
    );
    let foreign = granted(ChannelId([9; 32]), 1, 1, 6, &new_grant(Role::Member));
    assert_eq!(
        refused(&mut l, &[&foreign]),
        Refusal::Record(Reject::ForeignChannel)
    );
    assert_eq!(
        refused(&mut l, &[&note(c, 1, 1)]),
        Refusal::Record(Reject::BadBody)
    );
    let invite = invited(c, 1, 1, 6, &new_invite(1));
    assert_eq!(refused(&mut l, &[&invite]), Refusal::NotTheirs);
    let past = Grant {
        until: NOW.after(HOUR),
        ..new_grant(Role::Member)
    };
    let past = granted(c, 1, 2, 6, &past);
    l.now = WallMs(NOW.after(HOUR).0 + 1);
    assert_eq!(refused(&mut l, &[&past]), Refusal::Lapsed);
    assert_eq!(l.held(), []);
}

#[test]
fn a_revocation_that_is_held_wins_over_every_proof() {
    let mut l = house();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let m = granted(c, 2, 1, 6, &below(&a, Role::Member));
    check(&mut l, 6, &[&m, &a]).unwrap();
    l.event(Event::NeighbourUp { peer: id(6) });
    hold(&mut l, &[&revoked(c, 1, 2, 6, nothing())]);
    let (peer, reason) = (id(6), LeaveReason::Revoked);
    assert!(l.out.contains(&Action::Expel { peer, reason }));
    assert_eq!(check(&mut l, 6, &[&m, &a]), Err(Refusal::Revoked));
    // Nor does a chain through somebody who was revoked.
    let n = granted(c, 2, 2, 7, &below(&a, Role::Member));
    hold(&mut l, &[&revoked(c, 1, 3, 2, nothing())]);
    assert_eq!(check(&mut l, 7, &[&n, &a]), Err(Refusal::Revoked));
}

#[test]
fn who_stands_by_a_chain_that_falls_is_expelled_before_the_disk_has_it() {
    let mut l = house();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let m = granted(c, 2, 1, 6, &below(&a, Role::Member));
    let proof = proof(&l, &[&m, &a]);
    // The disk is slow: nothing of the chain is held yet.
    let mut out = Vec::new();
    l.graph.check_proof(NOW, &id(6), &proof, &mut out).unwrap();
    l.event(Event::NeighbourUp { peer: id(6) });
    assert!(l.graph.neighbours().any(|p| p == id(6)));
    hold(&mut l, &[&revoked(c, 1, 2, 2, nothing())]);
    assert!(!l.graph.neighbours().any(|p| p == id(6)));
}

#[test]
fn membership_that_runs_out_ends_the_connection() {
    let mut l = house();
    let c = l.channel();
    let day = Grant {
        until: NOW.after(DAY),
        ..new_grant(Role::Reader)
    };
    let r = granted(c, 1, 1, 6, &day);
    check(&mut l, 6, &[&r]).unwrap();
    l.event(Event::NeighbourUp { peer: id(6) });
    let all = l.pass(DAY + Duration::from_millis(2));
    let (peer, reason) = (id(6), LeaveReason::Lapsed);
    assert!(all.contains(&Action::Expel { peer, reason }));
}

#[test]
fn a_joiner_shows_its_redemption_and_is_in_at_once() {
    let mut l = house();
    let c = l.channel();
    let i = invited(c, 1, 1, 90, &new_invite(1));
    let mut all: Vec<_> = (20..30).map(|n| (n, redeemed(&i, n, 90))).collect();
    all.sort_by_key(|(_, r)| r.id());
    let (who, joined) = all.remove(5);
    assert_eq!(check(&mut l, who, &[&joined]), Err(Refusal::Incomplete));
    hold(&mut l, &[&i]);
    let access = check(&mut l, who, &[&joined]).unwrap();
    let (role, until) = (Role::Member, i.expires());
    assert_eq!(access, Access::Member { role, until });
    assert!(l.holds(&joined));
    // Its place is taken: the link is worth nothing to another, also not with a lower id.
    for (n, other) in &all {
        let used_up = Err(Refusal::Record(Reject::InviteUsedUp));
        assert_eq!(check(&mut l, *n, &[other]), used_up);
    }
    assert_eq!(check(&mut l, 8, &[&joined]), Err(Refusal::NotTheirs));
}

#[test]
fn who_comes_while_the_first_is_being_stored_finds_the_invitation_used() {
    for shows_invite in [false, true] {
        let mut l = house();
        let i = invited(l.channel(), 1, 1, 90, &new_invite(2));
        if !shows_invite {
            hold(&mut l, &[&i]);
        }
        // Nothing is acknowledged.
        let show = |l: &mut Lone, n: u8| {
            let joined = redeemed(&i, n, 90);
            let shown = match shows_invite {
                true => proof(l, &[&joined, &i]),
                false => proof(l, &[&joined]),
            };
            l.graph.check_proof(NOW, &id(n), &shown, &mut Vec::new())
        };
        let used_up = Err(Refusal::Record(Reject::InviteUsedUp));
        assert!(show(&mut l, 20).is_ok());
        assert!(show(&mut l, 21).is_ok());
        for n in 22..30 {
            assert_eq!(show(&mut l, n), used_up);
        }
        assert!(show(&mut l, 20).is_ok(), "it has its place");
        // Whoever goes before its redemption is stored leaves its place once it is.
        l.graph.forget_proof(&id(21));
        assert_eq!(show(&mut l, 22), used_up);
    }
}

#[test]
fn a_forged_redemption_does_not_pass_for_the_key_it_names() {
    let mut l = house();
    let c = l.channel();
    let i = invited(c, 1, 1, 90, &new_invite(9));
    hold(&mut l, &[&i]);
    // It names the one-time key, and was signed with another.
    let body = samara_graph::body::Redemption::sign(c, i.id(), &id(9), &key(91));
    let new = NewRecord {
        expires: i.expires(),
        body: body.encode().into(),
        ..crate::club::about(c, samara_graph::Kind::REDEMPTION, 1, id(90).as_bytes())
    };
    let forged = new.sign(&key(9)).unwrap();
    // Found out where proofs are read, before the graph has it.
    let refused = Err(GateError::Record(RecordError::BadSignature));
    assert_eq!(Proof::decode(&proof(&l, &[&forged]).encode()), refused);
    for forged in [forged, redeemed(&i, 9, 91)] {
        let refused = check(&mut l, 9, &[&forged]).unwrap_err();
        assert_eq!(refused, Refusal::Record(Reject::BadInvitation));
    }
    l.event(Event::NeighbourUp { peer: id(9) });
    assert!(!l.graph.neighbours().any(|p| p == id(9)));
}

#[test]
fn proofs_wait_while_the_disk_has_too_much_to_do() {
    let mut l = house();
    let c = l.channel();
    let m = granted(c, 1, 1, 6, &new_grant(Role::Member));
    l.event(Event::NeighbourUp { peer: id(1) });
    // Nothing is acknowledged; what is sent unasked is never so much at once.
    let mut out = Vec::new();
    for seq in 0..limits::MAX_PENDING as u64 {
        l.mono += Duration::from_millis(20);
        let message = Message::Record(note(c, 1, 10 + seq).bytes().clone());
        let event = Event::Message {
            peer: id(1),
            message,
        };
        if seq + 1 == limits::MAX_PENDING as u64 {
            let last = proof(&l, &[&m]);
            let mut tried = Vec::new();
            let access = l.graph.check_proof(NOW, &id(6), &last, &mut tried);
            assert!(access.is_ok(), "one more has room");
            l.graph
                .handle(NOW, l.mono, Event::StoreFailed { id: m.id() }, &mut tried);
        }
        l.graph.handle(NOW, l.mono, event, &mut out);
    }
    let shown = proof(&l, &[&m]);
    let refused = l.graph.check_proof(NOW, &id(6), &shown, &mut out);
    assert_eq!(refused, Err(Refusal::Record(Reject::Busy)));
}

#[test]
fn without_a_charter_proofs_are_judged_once_it_is_there() {
    let mut l = house();
    let c = l.channel();
    let chain = l.graph.charters().unwrap().clone();
    let m = granted(c, 1, 1, 6, &new_grant(Role::Member));
    l.graph = Graph::join(c, chain.reference(), Config::new(id(7), 1));
    let shown = |records: &[&Record]| Proof {
        charter: chain.reference(),
        records: records.iter().map(|r| (*r).clone()).collect(),
    };
    for (n, proof) in [(6, shown(&[&m])), (8, shown(&[&m])), (9, shown(&[]))] {
        let access = l.act(|g, now, out| g.check_proof(now, &id(n), &proof, out));
        assert_eq!(access, Ok(Access::Unchecked));
        l.event(Event::NeighbourUp { peer: id(n) });
    }
    let hello = Message::Hello {
        charter: Some(chain.reference()),
        address: None,
        summary: Default::default(),
    };
    l.say(9, hello);
    let charters = chain.versions().iter().map(|v| v.bytes().clone());
    l.say(9, Message::Charters(charters.collect()));
    let neighbours: Vec<_> = l.graph.neighbours().collect();
    assert_eq!(neighbours, [id(6)]);
}

#[test]
fn a_newer_charter_may_say_otherwise() {
    let mut l = house();
    let first = l.graph.charters().unwrap().reference();
    let newer = Proof {
        charter: samara_graph::CharterRef {
            version: 2,
            ..first
        },
        records: vec![],
    };
    let refused = l.act(|g, now, out| g.check_proof(now, &id(9), &newer, out));
    assert_eq!(refused, Err(Refusal::NewerCharter));
}

#[test]
fn proofs_are_remembered_up_to_a_number() {
    let mut l = house();
    let c = l.channel();
    let chain: CharterChain = l.graph.charters().unwrap().clone();
    l.graph = Graph::join(c, chain.reference(), Config::new(id(7), 1));
    let none = Proof {
        charter: chain.reference(),
        records: vec![],
    };
    let peer =
        |n: usize| samara_wire::PeerId([n as u8, (n >> 8) as u8].repeat(16).try_into().unwrap());
    for n in 0..limits::MAX_PROVED {
        let access = l.act(|g, now, out| g.check_proof(now, &peer(n), &none, out));
        assert_eq!(access, Ok(Access::Unchecked));
    }
    let one_more = peer(limits::MAX_PROVED);
    let full = l.act(|g, now, out| g.check_proof(now, &one_more, &none, out));
    assert_eq!(full, Err(Refusal::Full));
    l.graph.forget_proof(&peer(0));
    let access = l.act(|g, now, out| g.check_proof(now, &one_more, &none, out));
    assert_eq!(access, Ok(Access::Unchecked));
}

#[test]
fn an_open_channel_that_turns_private_lets_strangers_go() {
    let mut l = crate::club::club();
    let c = l.channel();
    let m = granted(c, 1, 1, 51, &new_grant(Role::Reader));
    l.offer(&m);
    let first = l.graph.charters().unwrap().versions()[0].clone();
    let next = samara_graph::Charter {
        readers: samara_graph::Readers::Members,
        ..first.charter().successor(first.reference().hash, NOW)
    };
    let signed = next.sign(&[&key(1)]).unwrap();
    l.act(|g, now, out| g.amend(now, signed, out)).unwrap();
    let (peer, reason) = (id(50), LeaveReason::Lapsed);
    let at = l
        .out
        .iter()
        .position(|a| *a == Action::Expel { peer, reason });
    assert!(at.is_some());
    // It is not even told why.
    assert_eq!(crate::lone::sent_to(&l.out, 50), []);
    assert_eq!(l.graph.neighbours().collect::<Vec<_>>(), [id(51)]);
}

/// The link ends, not what came of it; and nobody dates a late redemption back.
#[test]
fn a_membership_outlasts_its_invitation_and_a_late_bearer_is_told_from_a_member() {
    let mut l = house();
    let i = invited(l.channel(), 1, 1, 90, &new_invite(2));
    let (in_time, dated_back) = (redeemed(&i, 7, 90), redeemed(&i, 8, 90));
    let member = Ok(Access::Member {
        role: Role::Member,
        until: NOW.after(30 * DAY),
    });
    l.now = NOW.after(DAY);
    assert_eq!(check(&mut l, 7, &[&in_time, &i]), member);
    l.now = WallMs(NOW.after(DAY).0 + 1);
    let late = Err(Refusal::Record(Reject::InviteExpired));
    assert_eq!(check(&mut l, 8, &[&dated_back, &i]), late);
    assert!(!l.holds(&dated_back));
    assert_eq!(check(&mut l, 7, &[]), member);
    // Nobody who may renew it is needed: the owner is not asked for anything.
    l.now = NOW.after(29 * DAY);
    assert_eq!(check(&mut l, 7, &[]), member);
}
