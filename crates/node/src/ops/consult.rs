//! How many members are asked before what they say counts as what there is: one alone
//! may be behind the others.

use std::{future::Future, time::Duration};

use samara_wire::ChannelId;
use tokio::time::timeout;

use super::Context;
use crate::{EngineError, core::Core};

/// Members that are enough.
const ASKED: usize = 3;
/// How long the others have once the first has told everything: a handshake and some
/// round trips across a continent.
const GRACE: Duration = Duration::from_secs(1);

/// Who can say what a channel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    /// Members that told everything.
    told: usize,
    /// Members that may yet: connected, or on their way.
    hopeful: usize,
}

impl Asked {
    fn of(core: &Core, id: ChannelId) -> Option<Self> {
        let channel = core.channels.get(&id)?;
        let told = channel.synchronized.len();
        let pending = |peer: &&_| !channel.synchronized.contains(*peer);
        let connected = channel.members.iter().filter(pending).count();
        let dialled = channel.known.iter().filter(|(peer, known)| {
            let new = !channel.members.contains(*peer) && !channel.synchronized.contains(*peer);
            new && **peer != core.me && known.last_error.is_none() && !known.ways().is_empty()
        });
        let hopeful = connected + dialled.count();
        Some(Self { told, hopeful })
    }

    /// Whether nobody else is to be waited for.
    fn is_enough(self) -> bool {
        self.told >= ASKED || self.hopeful == 0
    }
}

/// Who can be believed that a channel has nothing: whom its link names, if it names
/// anybody; those beside us may have come a moment ago, and have nothing either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Vouching {
    told: usize,
    /// Connected, or on their way.
    pending: usize,
}

impl Vouching {
    fn of(core: &Core, id: ChannelId) -> Option<Self> {
        let channel = core.channels.get(&id)?;
        let others = channel.known.iter().filter(|(peer, _)| **peer != core.me);
        let best = others.clone().map(|(_, known)| known.source()).min()?;
        let mut vouching = Self::default();
        for (peer, known) in others.filter(|(_, known)| known.source() == best) {
            if channel.synchronized.contains(peer) {
                vouching.told += 1;
            } else if channel.members.contains(peer)
                || known.last_error.is_none() && !known.ways().is_empty()
            {
                vouching.pending += 1;
            }
        }
        Some(vouching)
    }

    fn is_agreed(self) -> bool {
        self.told > 0 && self.pending == 0
    }
}

/// Whether all that can be believed in this, and can be reached, have told everything.
pub(super) fn are_agreed(core: &Core, id: ChannelId) -> bool {
    Vouching::of(core, id).is_some_and(Vouching::is_agreed)
}

/// Once one member has told everything: until enough others have, or nobody else can be
/// hoped for, or their time is over.
pub(super) async fn others(context: &Context, id: ChannelId) -> Result<(), EngineError> {
    let enough = context.core().wait_for(move |core| {
        let asked = Asked::of(core, id);
        asked.is_none_or(Asked::is_enough).then_some(())
    });
    context.unless_cancelled(within(GRACE, enough)).await
}

async fn within(
    grace: Duration,
    enough: impl Future<Output = Result<(), EngineError>>,
) -> Result<(), EngineError> {
    timeout(grace, enough).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn with_one_member_one_is_enough_and_of_many_three_are() {
        let enough = |told, hopeful| Asked { told, hopeful }.is_enough();
        assert!(enough(1, 0), "the only one there is");
        assert!(!enough(1, 1) && !enough(2, 5));
        assert!(enough(ASKED, 5));
    }

    #[test]
    fn newcomers_do_not_decide_that_there_is_nothing() {
        let agreed = |told, pending| Vouching { told, pending }.is_agreed();
        assert!(!agreed(0, 1), "whom the link names is on its way");
        assert!(!agreed(0, 0), "whom the link names cannot be reached");
        assert!(!agreed(1, 1), "another that the link names may know more");
        assert!(agreed(1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn others_have_their_grace_and_no_more() {
        let start = Instant::now();
        within(GRACE, async { Ok(()) }).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        within(GRACE, std::future::pending()).await.unwrap();
        // The clock of tests has steps of a millisecond.
        assert_eq!(start.elapsed().as_secs(), GRACE.as_secs());
    }
}
