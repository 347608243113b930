//! Parity: any as many chunks and shards of a stripe as it has chunks will do.
//!
//! A shard is taken in place of a chunk, never beside it: where nobody here has a
//! chunk that is missing, or where a seeder that has handed out all chunks suggests
//! one. A stripe of which enough is here or on its way is *settled*: nothing more of
//! it is asked for. When enough of it is stored, the node is told to decode it.

use std::{collections::BTreeSet, time::Duration};

use samara_content::Stripes;
use samara_wire::PeerId;

use crate::{Action, ContentKey, content::Content, link::Link, rarity::SCAN, swarm::Swarm};

/// What is known of a content's stripes.
#[derive(Debug)]
pub(crate) struct Striped {
    stripes: Stripes,
    /// Every chunk is wanted: only then is a stripe worth bringing back.
    pub(crate) whole: bool,
    /// The node was told to decode them.
    decoding: BTreeSet<u32>,
    /// Their shards were not made from their chunks.
    broken: BTreeSet<u32>,
}

impl Striped {
    pub(crate) fn new(stripes: Stripes) -> Self {
        Self {
            stripes,
            whole: false,
            decoding: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    /// The numbers of the chunks.
    pub(crate) fn chunks(&self) -> std::ops::Range<u32> {
        0..self.stripes.chunks()
    }

    /// Which stripe `chunk` may be brought back with.
    fn stripe_of(&self, chunk: u32) -> Option<u32> {
        let stripe = self.stripes.stripe_of(chunk);
        (self.whole && !self.broken.contains(&stripe)).then_some(stripe)
    }

    fn members(&self, stripe: u32) -> impl Iterator<Item = u32> + use<> {
        let shards = self.stripes.shards_of(stripe);
        self.stripes.chunks_of(stripe).chain(shards)
    }
}

impl Content {
    /// Whether `chunk` is here or on its way.
    fn is_expected(&self, chunk: u32) -> bool {
        self.have.contains(chunk)
            || self.flights.contains_key(&chunk)
            || self.arrived.contains(&chunk)
    }

    /// Whether enough of the stripe of `chunk` is here or on its way.
    pub(crate) fn is_settled(&self, chunk: u32) -> bool {
        let Some(striped) = &self.striped else {
            return false;
        };
        let Some(stripe) = striped.stripe_of(chunk) else {
            return false;
        };
        let needs = striped.stripes.needs(stripe) as usize;
        let expected = striped.members(stripe).filter(|c| self.is_expected(*c));
        expected.take(needs).count() == needs
    }

    /// Takes what is left of a stripe out of what may be asked for, if it is settled.
    pub(crate) fn settle(&mut self, chunk: u32) {
        if self.seeding || !self.is_settled(chunk) {
            return;
        }
        let Some(striped) = &self.striped else { return };
        for chunk in striped.members(striped.stripes.stripe_of(chunk)) {
            self.rarity.remove(chunk);
        }
    }

    /// What else of the stripe of `chunk` is to be asked for again, now that `chunk`
    /// is not on its way any more.
    pub(crate) fn reopened(&self, chunk: u32) -> Vec<u32> {
        let Some(striped) = &self.striped else {
            return Vec::new();
        };
        let members = striped.members(striped.stripes.stripe_of(chunk));
        let others = members.filter(|c| *c != chunk && !self.rarity.contains(*c));
        match self.is_settled(chunk) {
            true => Vec::new(),
            false => others.filter(|c| self.is_member(*c)).collect(),
        }
    }

    /// Whether `chunk` is a parity shard.
    pub(crate) fn is_shard(&self, chunk: u32) -> bool {
        let striped = self.striped.as_ref();
        striped.is_some_and(|striped| striped.stripes.is_shard(chunk))
    }

    /// Whether one of `chunks` is of the stripe of `chunk`.
    pub(crate) fn has_of_stripe(&self, chunks: &[u32], chunk: u32) -> bool {
        let stripes = self.striped.as_ref().filter(|s| s.whole).map(|s| s.stripes);
        let same = |s: Stripes, c: u32| s.stripe_of(c) == s.stripe_of(chunk);
        stripes.is_some_and(|s| chunks.iter().any(|c| same(s, *c)))
    }

    /// Whether a shard would bring its stripe further.
    pub(crate) fn takes_shard(&self, shard: u32) -> bool {
        let usable = self
            .striped
            .as_ref()
            .is_some_and(|s| s.stripes.is_shard(shard) && s.stripe_of(shard).is_some());
        usable && !self.seeding && !self.is_expected(shard) && !self.is_settled(shard)
    }

    /// A shard that the peer has and that can be had for a chunk that nobody has.
    pub(crate) fn substitute(&self, peer: &PeerId, fits: impl Fn(u32) -> bool) -> Option<u32> {
        let striped = self.striped.as_ref().filter(|s| s.whole)?;
        let link = self.links.get(peer)?;
        // Who has everything counts as no copy.
        if self.seeding || link.whole || self.links.values().any(|link| link.whole) {
            return None;
        }
        let orphans = self.rarity.without_copies().iter().take(SCAN);
        let shards = orphans.flat_map(|chunk| {
            let stripe = striped.stripes.stripe_of(*chunk);
            striped.stripes.shards_of(stripe)
        });
        let has = |shard: &u32| link.theirs.contains(*shard) && fits(*shard);
        shards.filter(has).find(|shard| self.takes_shard(*shard))
    }

    /// Whether the peer has something that brings us further.
    pub(crate) fn is_helped_by(&self, peer: &PeerId, link: &Link) -> bool {
        link.offers > 0 || self.substitute(peer, |_| true).is_some()
    }

    /// Has those know that had given up on us, and have shards in place of what
    /// nobody has any more.
    pub(crate) fn ask_for_shards(&mut self, key: ContentKey, now: Duration, out: &mut Vec<Action>) {
        if self.striped.is_none() || self.is_complete() {
            return;
        }
        let given_up = self.links.iter().filter(|(_, link)| link.released);
        let substitutes = |peer: &&PeerId| self.substitute(peer, |_| true).is_some();
        let peers = given_up.map(|(peer, _)| peer).filter(substitutes);
        let peers: Vec<PeerId> = peers.copied().collect();
        for peer in peers {
            self.ask_credit(&peer, key, now, out);
        }
    }

    /// The stripe of `chunk`, if enough of it is stored to bring back the rest.
    fn decodable(&self, chunk: u32) -> Option<u32> {
        let striped = self.striped.as_ref()?;
        let stripe = striped.stripe_of(chunk)?;
        let needs = striped.stripes.needs(stripe) as usize;
        let mut chunks = striped.stripes.chunks_of(stripe);
        let stored = striped.members(stripe).filter(|c| self.have.contains(*c));
        let lacks = chunks.any(|c| !self.have.contains(c));
        (lacks && !striped.decoding.contains(&stripe) && stored.take(needs).count() == needs)
            .then_some(stripe)
    }

    /// A chunk or shard is not stored any more: its stripe is looked at anew.
    pub(crate) fn undecode(&mut self, chunk: u32) {
        if let Some(striped) = &mut self.striped {
            let stripe = striped.stripes.stripe_of(chunk);
            striped.decoding.remove(&stripe);
        }
    }

    /// Whether a seeder still has chunks that it handed to nobody: shards come after.
    pub(crate) fn has_fresh_chunks(&self) -> bool {
        let fresh = self.rarity.without_copies().iter();
        self.striped.is_some() && fresh.take(SCAN).any(|chunk| !self.is_shard(*chunk))
    }

    /// Whether a seeder should hand a shard to a peer: one that nobody has, of a
    /// stripe that the peer has too little of.
    pub(crate) fn is_worth_handing_out(&self, shard: u32, link: &Link) -> bool {
        let Some(striped) = &self.striped else {
            return true;
        };
        let stripe = striped.stripes.stripe_of(shard);
        let needs = striped.stripes.needs(stripe) as usize;
        let got = |c: &u32| link.theirs.contains(*c) || link.sent.contains(*c);
        let has = striped.members(stripe).filter(got).take(needs).count();
        self.rarity.copies(shard) == 0 && has < needs
    }
}

impl Swarm {
    /// Has the node decode the stripe of a chunk that was stored, if that can be done.
    pub(crate) fn check_stripe(&mut self, key: ContentKey, chunk: u32, out: &mut Vec<Action>) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if let Some(stripe) = content.decodable(chunk)
            && let Some(striped) = &mut content.striped
        {
            striped.decoding.insert(stripe);
            out.push(Action::Decode { key, stripe });
        }
    }

    /// Has the node decode what an earlier run left undone.
    pub(crate) fn check_stripes(&mut self, key: ContentKey, out: &mut Vec<Action>) {
        let striped = self.contents.get(&key).and_then(|c| c.striped.as_ref());
        // Chunk `s` is the first of stripe `s`.
        for chunk in 0..striped.map_or(0, |s| s.stripes.count()) {
            self.check_stripe(key, chunk, out);
        }
    }

    /// A stripe could not be decoded; for good, if its shards are `broken`.
    pub(crate) fn decode_failed(
        &mut self,
        key: ContentKey,
        stripe: u32,
        broken: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Some(striped) = &mut content.striped else {
            return;
        };
        striped.decoding.remove(&stripe);
        if broken {
            striped.broken.insert(stripe);
            let members: Vec<u32> = striped.members(stripe).collect();
            for chunk in members {
                content.requeue(chunk);
            }
            self.check_source(key, out);
        }
    }
}
