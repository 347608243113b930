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
