//! When the others are told of new chunks.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    Action, ContentKey, Message, Tier, content::Content, limits::MAX_LIST, link::Link, swarm::Swarm,
};

/// Announcements wait for their whole delay with so many peers or more, and with
/// fewer for less: the messages a second stay the same.
const WHOLE_CROWD: f64 = 32.0;
/// Least part of the delay.
const SHORTEST_DELAY: f64 = 0.1;
/// News follow news after as many delays at the latest.
const SPACING: f64 = 3.0;
/// News for those at the other end of a way out that others here use as well.
pub(crate) const FAR_SPACING: Duration = Duration::from_millis(500);
/// Bytes on the wire of an announcement and of its acknowledgement.
const COST: u64 = 200;
/// Announcements that take no more of the bytes than one in so many do not wait for
/// others.
const SHARE: u64 = 50;

/// What is to be told to whom, and when.
#[derive(Debug, Default)]
pub(crate) struct Heralds {
    all: Herald,
    far: Herald,
}

/// Of which contents there are news, when they go out, and when the last ones did.
#[derive(Debug, Default)]
struct Herald {
    at: Option<Duration>,
    last: Option<Duration>,
    keys: BTreeSet<ContentKey>,
}

impl Heralds {
    pub(crate) fn due(&self) -> Option<Duration> {
        self.all.at.into_iter().chain(self.far.at).min()
    }

    pub(crate) fn forget(&mut self, key: ContentKey) {
        self.all.keys.remove(&key);
        self.far.keys.remove(&key);
    }
}

impl Herald {
    fn collect(&mut self, key: ContentKey, now: Duration, delay: Duration, spacing: Duration) {
        self.keys.insert(key);
        let soon = now + delay;
        let at = self.last.map_or(soon, |last| soon.max(last + spacing));
        self.at = Some(self.at.map_or(at, |due| due.min(at)));
    }

    fn take(&mut self, now: Duration) -> BTreeSet<ContentKey> {
        if self.at.is_none_or(|at| at > now) {
            return BTreeSet::new();
        }
        (self.at, self.last) = (None, Some(now));
        std::mem::take(&mut self.keys)
    }
}

impl Content {
    /// Whether what goes to this peer goes by a way out that others here use as well:
    /// what each of us says to each of those beyond it would fill it.
    fn is_beyond(&self, link: &Link) -> bool {
        self.near > 0 && link.tier == Tier::Elsewhere
    }

    /// The chunks that a peer was not told of yet.
    pub(crate) fn untold(&self, link: &Link) -> &BTreeSet<u32> {
        match self.is_beyond(link) {
            true => &self.far_news,
            false => &self.news,
        }
    }

    /// How long `news` chunks wait for more, so that telling `peers`, which is done by
    /// `tellers` alike, is worth its bytes.
    fn spacing(&self, news: usize, peers: usize, tellers: usize, most: Duration) -> Duration {
        let worth = news as u64 * self.average();
        match worth >= COST * SHARE * (peers * tellers) as u64 {
            true => Duration::ZERO,
            false => most,
        }
    }
}

impl Swarm {
    /// Has `key`'s news announced soon.
    pub(crate) fn announce_soon(&mut self, key: ContentKey) {
        let Some(content) = self.contents.get(&key) else {
            return;
        };
        let links = content.links.len();
        let share = (links as f64 / WHOLE_CROWD).clamp(SHORTEST_DELAY, 1.0);
        let delay = self.config.announce_delay.mul_f64(share);
        let far = match content.near {
            0 => 0,
            near => links - near,
        };
        let spacing = content.spacing(content.news.len(), links - far, 1, delay.mul_f64(SPACING));
        let (now, herald) = (self.now, &mut self.news.all);
        herald.collect(key, now, delay, spacing);
        if far > 0 {
            let tellers = content.near + 1;
            let spacing = content.spacing(content.far_news.len(), far, tellers, FAR_SPACING);
            let herald = &mut self.news.far;
            herald.collect(key, now, self.config.announce_delay, spacing);
        }
    }

    /// Tells what is due.
    pub(crate) fn announce(&mut self, out: &mut Vec<Action>) {
        for key in self.news.all.take(self.now) {
            if let Some(content) = self.contents.get_mut(&key) {
                let news = std::mem::take(&mut content.news);
                // With nobody beyond a way out, all were told.
                if !content.links.values().any(|link| content.is_beyond(link)) {
                    content.far_news.retain(|chunk| !news.contains(chunk));
                }
                tell(key, content, &news, |link| !content.is_beyond(link), out);
            }
        }
        for key in self.news.far.take(self.now) {
            if let Some(content) = self.contents.get_mut(&key) {
                let news = std::mem::take(&mut content.far_news);
                tell(
                    key,
                    content,
                    &news,
                    |link| link.tier == Tier::Elsewhere,
                    out,
                );
            }
        }
    }
}

fn tell(
    key: ContentKey,
    content: &Content,
    news: &BTreeSet<u32>,
    whom: impl Fn(&Link) -> bool,
    out: &mut Vec<Action>,
) {
    if !content.role.serves() {
        return;
    }
    let news: Vec<u32> = news.iter().copied().collect();
    for (peer, _) in content.links.iter().filter(|(_, link)| whom(link)) {
        for part in news.chunks(MAX_LIST) {
            let msg = Message::HaveMore(part.to_vec());
            out.push(Action::Send {
                peer: *peer,
                key,
                msg,
            });
        }
    }
}
