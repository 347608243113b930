//! Records of membership, made by hand: as an honest member, or not.

use std::time::Duration;

use bytes::Bytes;
use samara_graph::{
    Action, Attributes, Charter, Graph, Kind, NewRecord, Publishers, Readers, Record, RemoveReason,
    Role, WallMs,
    body::{Grant, Invite, Redemption, Revocation, id_prefix},
    limits,
};
use samara_wire::{ChannelId, PeerId, RecordId};

use crate::lone::{HOUR, Lone, NOW, key, new_record, record};

impl Lone {
    /// What this node itself does, and what came of it on the disk.
    pub(crate) fn act<R>(
        &mut self,
        act: impl FnOnce(&mut Graph, WallMs, &mut Vec<Action>) -> R,
    ) -> R {
        self.out.clear();
        let done = act(&mut self.graph, self.now, &mut self.out);
        self.acknowledge();
        done
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn id(n: u8) -> PeerId {
    key(n).peer_id()
}

/// Key 1 owns it and nobody else is named.
pub(crate) fn charter() -> Charter {
    Charter::open("club", id(1), NOW, [3; 16])
}

pub(crate) fn club() -> Lone {
    Lone::of(&charter())
}

/// All members publish.
pub(crate) fn commune() -> Lone {
    Lone::of(&Charter {
        publishers: Publishers::Members,
        ..charter()
    })
}

/// Only members read.
pub(crate) fn private() -> Charter {
    Charter {
        readers: Readers::Members,
        publishers: Publishers::Members,
        announced: false,
        ..charter()
    }
}

/// A grant, a week long, by `by` to `to`.
pub(crate) fn new_grant(role: Role) -> Grant {
    Grant {
        role,
        parent: None,
        until: NOW.after(7 * DAY),
        kinds: [].into(),
        renewable: true,
        replaces: None,
    }
}

pub(crate) fn about(channel: ChannelId, kind: Kind, seq: u64, whom: &[u8]) -> NewRecord {
    NewRecord {
        kind,
        expires: NOW.after(30 * DAY),
        key: Bytes::copy_from_slice(whom),
        attributes: Attributes::default(),
        ..new_record(channel, seq)
    }
}

pub(crate) fn granted(channel: ChannelId, by: u8, seq: u64, to: u8, grant: &Grant) -> Record {
    let expires = match grant.role {
        Role::Admin => WallMs(limits::MAX_TIME_MS),
        _ => NOW.after(30 * DAY),
    };
    let new = NewRecord {
        expires,
        body: grant.encode().into(),
        ..about(channel, Kind::GRANT, seq, id(to).as_bytes())
    };
    new.sign(&key(by)).unwrap()
}

/// By the owner.
pub(crate) fn admin(channel: ChannelId, seq: u64, to: u8) -> Record {
    granted(channel, 1, seq, to, &new_grant(Role::Admin))
}

pub(crate) fn below(parent: &Record, role: Role) -> Grant {
    Grant {
        parent: Some(parent.id()),
        ..new_grant(role)
    }
}

pub(crate) fn revoked(channel: ChannelId, by: u8, seq: u64, whom: u8, r: Revocation) -> Record {
    let new = NewRecord {
        expires: WallMs(limits::MAX_TIME_MS),
        body: r.encode().into(),
        ..about(channel, Kind::REVOCATION, seq, id(whom).as_bytes())
    };
    new.sign(&key(by)).unwrap()
}

pub(crate) fn nothing() -> Revocation {
    Revocation {
        seal: false,
        up_to: 0,
        keep: [].into(),
    }
}

pub(crate) fn up_to(up_to: u64) -> Revocation {
    Revocation { up_to, ..nothing() }
}

pub(crate) fn keeping(records: &[&Record]) -> Revocation {
    Revocation {
        seal: false,
        up_to: 0,
        keep: records.iter().map(|r| id_prefix(&r.id())).collect(),
    }
}

/// For members, a day long, with the one-time key `one_time`.
pub(crate) fn new_invite(uses: u32) -> Invite {
    Invite {
        role: Role::Member,
        parent: None,
        uses,
        until: NOW.after(DAY),
        kinds: [].into(),
        renewable: true,
    }
}

pub(crate) fn invited(
    channel: ChannelId,
    by: u8,
    seq: u64,
    one_time: u8,
    invite: &Invite,
) -> Record {
    let new = NewRecord {
        body: invite.encode().into(),
        ..about(channel, Kind::INVITE, seq, id(one_time).as_bytes())
    };
    new.sign(&key(by)).unwrap()
}

pub(crate) fn redeemed(invite: &Record, joiner: u8, one_time: u8) -> Record {
    let channel = invite.channel();
    let body = Redemption::sign(channel, invite.id(), &id(joiner), &key(one_time));
    let new = NewRecord {
        expires: invite.expires(),
        created: NOW.after(HOUR / 60),
        body: body.encode().into(),
        ..about(channel, Kind::REDEMPTION, 1, id(one_time).as_bytes())
    };
    new.sign(&key(joiner)).unwrap()
}

/// What an application writes, an hour long.
pub(crate) fn note(channel: ChannelId, by: u8, seq: u64) -> Record {
    record(channel, by, seq)
}

pub(crate) fn offer_all(l: &mut Lone, records: &[&Record]) {
    records.iter().for_each(|r| {
        // Slowly enough for what a neighbour may send unasked.
        l.mono += Duration::from_millis(20);
        l.offer(r);
    });
}

pub(crate) fn why_removed(l: &Lone, record: &Record) -> Option<RemoveReason> {
    l.out.iter().find_map(|a| match a {
        Action::Remove { id, reason } if *id == record.id() => Some(*reason),
        _ => None,
    })
}

pub(crate) fn ids(records: &[&Record]) -> Vec<RecordId> {
    let mut ids: Vec<_> = records.iter().map(|r| r.id()).collect();
    ids.sort();
    ids
}

/// Of what the subject wrote up to that sequence these stay.
pub(crate) fn sealed(up_to: u64, records: &[&Record]) -> Revocation {
    Revocation {
        seal: true,
        up_to,
        ..keeping(records)
    }
}
