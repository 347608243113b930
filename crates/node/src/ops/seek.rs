//! `resolve`: who answers to a name. Only secure names: a peer proves its key, a
//! member shows the charter that the channel's id is the hash of.

use std::time::{Duration, Instant};

use samara_graph::Link;
use samara_wire::{ChannelId, PeerId};
use tokio::time::timeout;

use super::{
    Context,
    get::{leave, visit},
    resolve,
};
use crate::{
    EngineError,
    api::{ErrorKind, Event, Scope, milliseconds},
    core::Core,
    session::Session,
};

/// After enough have answered, those that are nearer have this share of the
/// slowest one's round trip left, but no less and no more than this, to say so too.
const SETTLE_TRIPS: u32 = 2;
const MIN_SETTLE: Duration = Duration::from_millis(50);
const MAX_SETTLE: Duration = Duration::from_millis(500);
/// When fewer than wanted have answered, and nobody else for so long, nobody else
/// is waited for.
const QUIET: Duration = Duration::from_secs(5);

/// What is looked for.
#[derive(Debug, Clone, Copy, Default)]
struct Name {
    channel: Option<ChannelId>,
    peer: Option<PeerId>,
}

/// Somebody who answered.
#[derive(Debug, Clone)]
struct Answer {
    peer: PeerId,
    channel: Option<ChannelId>,
    addr: String,
    scope: Scope,
    rtt: Duration,
}

pub(super) async fn resolve_name(
    context: &Context,
    what: &str,
    scope: Scope,
    count: u32,
) -> Result<(), EngineError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
    let name = begin(context, what.trim()).await?;
    let found = look(context, name, scope, count).await;
    end(context, name).await;
    let mut found = found?;
    if found.is_empty() {
        return Err(EngineError::new(
            ErrorKind::NoPeer,
            format!(
                "nobody answers to \"{what}\" (scope {}) within {} s",
                scope.name(),
                context.timeout().as_secs_f64()
            ),
        ));
    }
    found.sort_by_key(|answer| (answer.rtt, answer.peer));
    for answer in found.into_iter().take(count) {
        context
            .emit(Event::Resolved {
                peer_id: answer.peer.to_string(),
                channel: answer.channel.map(|id| id.to_string()),
                addr: answer.addr,
                scope: answer.scope,
                rtt_ms: milliseconds(answer.rtt),
            })
            .await;
    }
    Ok(())
}

/// Understands the text, and has the core look for what it means.
async fn begin(context: &Context, text: &str) -> Result<Name, EngineError> {
    let name = match text.parse::<Link>() {
        Ok(link) => {
            visit(context, &link, text).await?;
            Name {
                channel: Some(link.channel()),
                peer: None,
            }
        }
        Err(_) => understand(context, text).await?,
    };
    let oneself = move |core: &mut Core| name.peer == Some(core.me);
    if context.core().call(oneself).await? {
        end_channel(context, name.channel).await;
        return Err(EngineError::new(
            ErrorKind::Usage,
            "that is this node itself",
        ));
    }
    let looking = context
        .core()
        .call(move |core| {
            if let Some(id) = name.channel {
                core.seek_members(id);
            }
            name.peer
                .is_none_or(|peer| peer == core.me || core.seek(peer))
        })
        .await?;
    if !looking {
        end_channel(context, name.channel).await;
        return Err(EngineError::new(
            ErrorKind::Usage,
            "too many peers are being looked for; try again",
        ));
    }
    Ok(name)
}

/// A channel that is held here; else an id, of whatever it may be.
async fn understand(context: &Context, text: &str) -> Result<Name, EngineError> {
    let wanted = text.to_owned();
    let held = context
        .core()
        .call(move |core| {
            let held = resolve(core, &wanted);
            if let Ok(id) = held {
                core.visit(id);
            }
            held
        })
        .await?;
    let (Err(error), Ok(id)) = (&held, text.parse::<ChannelId>()) else {
        return Ok(Name {
            channel: Some(held?),
            peer: None,
        });
    };
    if error.kind != ErrorKind::NotFound {
        return Err(error.clone());
    }
    context
        .core()
        .call(move |core| core.visit_bare(id))
        .await??;
    // A peer's id looks the same.
    Ok(Name {
        channel: Some(id),
        peer: Some(PeerId(id.0)),
    })
}

async fn end(context: &Context, name: Name) {
    if let Some(peer) = name.peer {
        let _ = context.core().call(move |core| core.unseek(peer)).await;
    }
    end_channel(context, name.channel).await;
}

async fn end_channel(context: &Context, channel: Option<ChannelId>) {
    if let Some(id) = channel {
        leave(context, id).await;
    }
}

/// Waits until enough have answered, or nobody else does.
async fn look(
    context: &Context,
    name: Name,
    scope: Scope,
    count: usize,
) -> Result<Vec<Answer>, EngineError> {
    let end = Instant::now() + context.timeout();
    let mut found: Vec<Answer> = Vec::new();
    loop {
        let patience = if found.is_empty() {
            end.saturating_duration_since(Instant::now())
        } else if found.len() < count {
            QUIET.min(end.saturating_duration_since(Instant::now()))
        } else {
            let slowest = found.iter().map(|a| a.rtt).max().unwrap_or_default();
            (slowest * SETTLE_TRIPS).clamp(MIN_SETTLE, MAX_SETTLE)
        };
        let before = found.len();
        let more = context.core().wait_for(move |core| {
            let found = answers(core, name, scope);
            (found.len() > before).then_some(found)
        });
        let waiting = async { Ok(timeout(patience, more).await.ok()) };
        match context.unless_cancelled(waiting).await? {
            Some(more) => found = more?,
            None => return Ok(found),
        }
        let is_peer = found.iter().any(|answer| answer.channel.is_none());
        if is_peer || before >= count {
            return Ok(found);
        }
    }
}

/// Whoever has answered so far.
fn answers(core: &mut Core, name: Name, scope: Scope) -> Vec<Answer> {
    let answer = |session: &Session, channel| Answer {
        peer: session.peer,
        channel,
        addr: session.addr().to_string(),
        scope: core.scope_of(session),
        rtt: session.rtt(),
    };
    let members = name.channel.into_iter().flat_map(|id| {
        let members = core.proved_members(id).into_iter();
        members.map(move |session| (session, Some(id)))
    });
    let peer = name.peer.and_then(|peer| core.sessions.get(&peer));
    members
        .chain(peer.map(|link| (&link.session, None)))
        .map(|(session, channel)| answer(session, channel))
        .filter(|answer| answer.scope <= scope)
        .collect()
}
