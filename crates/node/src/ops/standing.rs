//! How a channel's members and records stand, for `status`.

use samara_graph::WallMs;
use samara_wire::PeerId;

use crate::{
    api::{OffenderStatus, Standing},
    core::Channel,
    rfc3339,
};

pub(super) fn standing(channel: &Channel, me: &PeerId, now: WallMs) -> Standing {
    let status = channel.graph.status();
    let presence = channel.graph.presence_lease();
    let offenders = status.offenders.iter().map(|o| OffenderStatus {
        peer_id: o.peer.to_string(),
        records: o.records,
        reasons: o
            .offences
            .iter()
            .map(|(offence, n)| (offence.label().to_owned(), *n))
            .collect(),
    });
    Standing {
        members: status.members as u64,
        present: presence.map(|_| channel.presence.count(now) as u64),
        synchronized: status.synchronized,
        record_bytes: status.record_bytes,
        waiting: status.waiting as u64,
        crowded_out: status.deferred_dropped,
        rejected: status
            .rejected
            .iter()
            .map(|(reject, n)| (reject.label().to_owned(), *n))
            .collect(),
        displaced: status.displaced,
        offenders: offenders.collect(),
        time_floor: channel.floor.at().map(|at| rfc3339::format(at.0)),
        clock_behind: channel.floor.is_ahead_of(now),
        shut_out: channel.shut_out(me, now).map(|why| why.name().to_owned()),
    }
}
