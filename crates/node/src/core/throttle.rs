//! Limits and pauses put into effect: rates, places, who is served and who is let in.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use samara_swarm::{Event, Role};
use samara_wire::{ChannelId, ContentId, PeerId};

use super::{Core, Link, Terms, TransferKey};
use crate::{
    limit::{LimitConfig, Orders, Ruling, local_time},
    session::{Close, Session, is_lan},
    transport,
};

/// How often what passed on the wire is compared with what was paid for, while limits
/// hold and bytes move.
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// Bytes that may wait unread on all connections together, as a time at the rate that
/// holds: what comes in later than that is not held back yet.
const UNREAD: Duration = Duration::from_millis(250);
/// Bytes that may be asked for and not here, as a time at the rate that holds, beside what
/// the way takes: longer than it takes until somebody is asked again.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// How often those are asked again for whom there was no room.
const INVITE_EVERY: Duration = Duration::from_millis(100);
/// Least of them on one connection: some packets, and a frame beside them.
const LEAST_WINDOW: u32 = 64 << 10;

impl Core {
    /// What decides at the moment.
    pub(crate) fn ruling(&self) -> Ruling<'_> {
        Ruling {
            config: &self.config.limits,
            orders: &self.orders,
        }
    }

    /// What people ordered is something else from now on.
    pub(crate) fn obey(&mut self, orders: Orders) {
        self.orders = orders;
        self.enforce();
    }

    /// What the configuration says is something else from now on.
    pub(crate) fn configure_limits(&mut self, limits: LimitConfig) {
        self.config.limits = limits;
        self.enforce();
    }

    /// Puts into effect all that holds.
    pub(crate) fn enforce(&mut self) {
        self.apply_rates();
        let ruling = self.ruling();
        let (slots, policy, most, no_wan) = (
            ruling.upload_slots(),
            ruling.upload_policy(),
            ruling.max_connections(),
            ruling.no_wan(),
        );
        self.swarm.set_upload_slots(slots);
        self.swarm.set_policy(policy.into());
        let keys: Vec<_> = self.transfers.keys().copied().collect();
        for key in keys {
            self.set_role(key);
        }
        if no_wan {
            let beyond = self.sessions.values().filter(|link| !link.session.is_lan());
            for link in beyond {
                link.session.close(Close::Busy);
            }
        }
        self.close_surplus(most);
        self.search_within(no_wan);
        self.pauses += 1;
        self.notify();
    }

    /// Sets the rates to what holds at this time of the day.
    fn apply_rates(&mut self) {
        // What passed until now passed at the rates until now.
        self.settle();
        let names: Vec<_> = self
            .channels
            .iter()
            .map(|(id, c)| (*id, c.name()))
            .collect();
        let ruling = Ruling {
            config: &self.config.limits,
            orders: &self.orders,
        };
        let channels = names.iter().map(|(id, name)| (id, name.clone()));
        self.shapers.apply(&ruling, local_time(), channels);
        for link in self.sessions.values() {
            if link.asked {
                let window = self.receive_window(link);
                transport::expect_answers(&link.session.connection, window);
            }
        }
    }

    /// Once a second: hours begin and end, channels come and get names.
    pub(super) fn follow_the_clock(&mut self) {
        let limits = &self.config.limits;
        if !limits.hours.is_empty() || !limits.channels.is_empty() || self.shapers.is_limited() {
            self.apply_rates();
        }
    }

    /// The newest connections are closed where there are more than there may be.
    fn close_surplus(&self, most: usize) {
        let mut links: Vec<_> = self.sessions.values().collect();
        links.sort_by_key(|link| (link.ours.is_empty(), link.session.since));
        for link in links.into_iter().skip(most) {
            link.session.close(Close::Busy);
        }
    }

    /// Established connections that there may be.
    pub(super) fn max_connections(&self) -> usize {
        self.ruling().max_connections()
    }

    /// Whether there may be a connection with whoever is at an address.
    pub(crate) fn may_reach(&self, addr: &SocketAddr) -> bool {
        is_lan(addr.ip()) || !self.ruling().no_wan()
    }

    /// How the node takes part in the swarm of a content that these channels name.
    pub(super) fn role_in<'a>(
        &self,
        content: &ContentId,
        channels: impl IntoIterator<Item = &'a ChannelId>,
    ) -> Role {
        if self.orders.paused.has(content, channels) {
            Role::Paused
        } else if self.ruling().leech() {
            Role::Leech
        } else {
            Role::Member
        }
    }

    /// Whether a content rests: it, all channels that name it, or everything is paused.
    pub(crate) fn is_paused(&self, content: &ContentId) -> bool {
        let channels = self.channels.iter();
        let naming = channels.filter(|(_, channel)| channel.named(content).is_some());
        self.orders.paused.has(content, naming.map(|(id, _)| id))
    }

    /// Whether others may have of a content what is here.
    pub(super) fn serves(&self, channel: &ChannelId, content: &ContentId) -> bool {
        self.role_in(content, [channel]).serves()
    }

    /// Sets a transfer's role to what holds.
    pub(super) fn set_role(&mut self, key: TransferKey) {
        let Some(transfer) = self.transfers.get(&key) else {
            return;
        };
        let role = self.role_in(transfer.content.id(), &transfer.channels);
        let terms = Terms {
            role,
            ..transfer.terms
        };
        self.set_terms(key, terms);
    }

    pub(super) fn set_terms(&mut self, key: TransferKey, terms: Terms) {
        let Some(transfer) = self.transfers.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut transfer.terms, terms) == terms {
            return;
        }
        // A pause is no lack of progress.
        transfer.last_progress = Instant::now();
        let Terms {
            role,
            priority,
            order,
        } = terms;
        self.swarm_event(Event::TermsChanged {
            key,
            role,
            priority,
            order,
        });
        if role.fetches() {
            self.announce_again(key);
        }
    }

    /// Bytes that may wait unread on a connection: with a limit only as many as it lets
    /// in soon, since what the peer may send is not held back any more.
    pub(crate) fn receive_window(&self, link: &Link) -> u32 {
        let lan = link.session.is_lan();
        let links = self.sessions.values();
        let sources = links
            .filter(|link| !link.requests.is_empty())
            .count()
            .max(1);
        let most = transport::window(sources, link.session.rtt());
        let Some(rate) = self.shapers.lowest_down(lan, link.channels.iter()) else {
            return most;
        };
        let time = UNREAD / sources as u32 + 2 * link.session.rtt();
        let bytes = rate as f64 * time.as_secs_f64();
        (bytes as u32).max(LEAST_WINDOW).min(most)
    }

    /// Bytes that a peer may be asked for of a content; `None`: no limit is in the way.
    pub(super) fn room_for(&self, key: TransferKey, peer: &PeerId) -> Option<u64> {
        let (transfer, link) = (self.transfers.get(&key)?, self.sessions.get(peer)?);
        let channel = transfer.channels.intersection(&link.channels).next()?;
        let time = UNDER_WAY + 2 * link.session.rtt();
        self.shapers.room(link.session.is_lan(), channel, time)
    }

    /// Has those asked again, by turns, who were turned away for want of room, as many as
    /// there is room for when it is time.
    pub(super) fn invite_round(&mut self) {
        let now = Instant::now();
        let cramped = self.swarm.cramped();
        if cramped.is_empty() || now < self.next_invitation {
            return;
        }
        self.next_invitation = now + INVITE_EVERY;
        let last = self.last_invited;
        let later = cramped.iter().filter(|link| Some(**link) > last);
        let earlier = cramped.iter().filter(|link| Some(**link) <= last);
        let links: Vec<_> = later.chain(earlier).copied().collect();
        let mut promised = 0;
        for (key, peer) in links {
            let room = self.room_for(key, &peer);
            if room.is_some_and(|room| room <= promised) {
                continue;
            }
            if room.is_some() {
                let progress = self.swarm.progress(key);
                let chunks = self.swarm.chunk_count(key).unwrap_or(1).max(1);
                let bytes = progress.map_or(0, |p| p.wanted_bytes);
                promised += bytes / u64::from(chunks);
                self.last_invited = Some((key, peer));
            }
            self.swarm_event(Event::Roomier { key, peer });
        }
    }

    /// Lets the swarm know of the time that limits of this node held back what comes.
    pub(super) fn tell_held_back(&mut self) {
        let mut held = Vec::new();
        for (peer, link) in &mut self.sessions {
            let total = link.held.total();
            let wait = total.saturating_sub(std::mem::replace(&mut link.held_told, total));
            if !wait.is_zero() {
                held.push((*peer, wait));
            }
        }
        for (peer, wait) in held {
            self.swarm_event(Event::HeldBack { peer, wait });
        }
    }

    /// Has what passed on the wire paid for, when it is time.
    pub(super) fn settle_round(&mut self) {
        let now = Instant::now();
        if now < self.next_settling || !self.shapers.is_stirred() {
            return;
        }
        self.next_settling = now + SETTLE_EVERY;
        self.shapers.take_stirred();
        self.settle();
    }

    /// Reads what every connection counted.
    pub(super) fn settle(&self) {
        for link in self.sessions.values() {
            let Session { connection, .. } = &link.session;
            let stats = connection.stats();
            let addr = link.session.addr();
            self.shapers.settle(
                is_lan(addr.ip()),
                addr.is_ipv4(),
                &link.meter,
                stats.udp_tx,
                stats.udp_rx,
            );
        }
    }
}
