//! Why this node takes no part in a channel any more, as far as it can know.

use samara_graph::WallMs;
use samara_wire::PeerId;

use super::Channel;

/// Why nobody talks with this node about a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShutOut {
    /// It was revoked, and the record of that is here.
    Revoked,
    /// Its role in a private channel is over.
    Ended,
    /// It never had a role in a private channel that is here.
    NoRole,
    /// Peers answer, and none talks of the channel with it. Who was revoked is told so by
    /// nobody: it hears nothing of the channel any more, and sees only that.
    Refused,
}

impl ShutOut {
    /// As programs read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Ended => "ended",
            Self::NoRole => "no_role",
            Self::Refused => "refused",
        }
    }
}

impl Channel {
    /// Why `me`, this node, is out, if it is.
    pub(crate) fn shut_out(&self, me: &PeerId, now: WallMs) -> Option<ShutOut> {
        if self.graph.is_revoked(me) {
            return Some(ShutOut::Revoked);
        }
        let charter = self.graph.charters()?.current();
        if self.is_private() && self.graph.role_of(me, now).is_none() {
            let members = self.graph.members(now);
            return Some(match members.iter().any(|member| member.peer == *me) {
                true => ShutOut::Ended,
                false => ShutOut::NoRole,
            });
        }
        // Nobody revokes a root.
        if charter.roots.contains(me) || !self.members.is_empty() {
            return None;
        }
        let refused = self.known.values().any(|known| known.said_no);
        refused.then_some(ShutOut::Refused)
    }
}
