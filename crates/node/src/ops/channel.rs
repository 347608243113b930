//! Lasting channels: making, listing, linking, leaving.

use std::net::SocketAddr;

use samara_graph::{Charter, CharterChain, Graph, Kind, WallMs};
use samara_store::Batch;
use samara_wire::ChannelId;

use super::{Context, resolve};
use crate::{
    EngineError, addrs,
    api::{ErrorKind, Event},
    config::DEFAULT_PORT,
    core::{self, Channel, ChannelMeta, Role, graph_config, wall_ms},
    engine, identity, receipt,
};

/// Longest name of a channel, in bytes.
const MAX_NAME: usize = 64;

/// As much of a file's name as fits a channel's.
pub(super) fn short_name(name: &str) -> String {
    let mut short: String = name.chars().filter(|c| !c.is_control()).collect();
    while short.len() > MAX_NAME {
        short.pop();
    }
    short
}

/// Makes a channel that this node's identity owns, and keeps it with what `beside`
/// adds.
pub(super) async fn new_channel(
    context: &Context,
    name: &str,
    private: bool,
    mut meta: ChannelMeta,
    beside: impl FnOnce(&mut Batch, ChannelId),
) -> Result<ChannelId, EngineError> {
    // There is nobody who could know more of it.
    meta.synchronized = true;
    let mut nonce = [0; 16];
    identity::random(&mut nonce)?;
    let (key, me) = context
        .core()
        .call(|core| (core.key.clone(), core.me))
        .await?;
    let record = |e: &dyn std::fmt::Display| EngineError::new(ErrorKind::Usage, e.to_string());
    let now = WallMs(wall_ms());
    let charter = match private {
        true => Charter::private(name, me, now, nonce),
        false => Charter::open(name, me, now, nonce),
    };
    let signed = charter.sign(&[&key]).map_err(|e| record(&e))?;
    let chain = CharterChain::new(signed).map_err(|e| record(&e))?;
    let id = chain.channel();
    // All that makes it a channel becomes durable together.
    let mut batch = Batch::new();
    batch.put_charter(&id, &chain.encode());
    core::put_meta(&mut batch, id, &meta);
    beside(&mut batch, id);
    context
        .blocking(move |store| Ok(store.write(batch)?))
        .await?;
    let graph = Graph::restore(chain, std::iter::empty(), graph_config(me)?);
    let active = context.engine.mode == crate::Mode::Node;
    context
        .core()
        .call(move |core| {
            let channel = Channel::new(graph, meta, Default::default());
            core.add_channel(id, channel, active);
        })
        .await?;
    Ok(id)
}

pub(super) async fn create(
    context: &Context,
    name: &str,
    private: bool,
) -> Result<(), EngineError> {
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!("a channel's name has 1 to {MAX_NAME} bytes and no control characters"),
        ));
    }
    let _turn = context.engine.naming.lock().await;
    let wanted = name.to_owned();
    let taken = context
        .core()
        .call(move |core| {
            core.channels.iter().any(|(_, c)| {
                c.meta.role == Role::Owner && c.name().as_deref() == Some(wanted.as_str())
            })
        })
        .await?;
    if taken {
        return Err(EngineError::new(
            ErrorKind::Exists,
            format!("this node owns a channel called \"{name}\" already"),
        ));
    }
    let made = |id: ChannelId| Event::Channel {
        id: id.to_string(),
        name: name.to_owned(),
        role: Role::Owner.name().to_owned(),
        records: 0,
        version: None,
        issues: 0,
    };
    let id = new_channel(
        context,
        name,
        private,
        ChannelMeta::new(Role::Owner),
        |batch, id| {
            if let Some(asked) = &context.name {
                receipt::put(batch, asked, made(id));
            }
        },
    )
    .await?;
    context.emit(made(id)).await;
    Ok(())
}

pub(super) async fn list(context: &Context) -> Result<(), EngineError> {
    let channels = context
        .core()
        .call(|core| {
            let mut rows: Vec<_> = core
                .channels
                .iter()
                .map(|(id, c)| Event::Channel {
                    id: id.to_string(),
                    name: c.name().unwrap_or_default(),
                    role: c.meta.role.name().to_owned(),
                    records: c.graph.status().records as u64,
                    version: super::publish::newest_version(c),
                    issues: c.newest(Kind::ISSUE).len() as u64,
                })
                .collect();
            rows.sort_by_key(|row| match row {
                Event::Channel { name, id, .. } => (name.clone(), id.clone()),
                _ => Default::default(),
            });
            rows
        })
        .await?;
    for channel in channels {
        context.emit(channel).await;
    }
    Ok(())
}

pub(super) async fn link(context: &Context, channel: &str) -> Result<(), EngineError> {
    let text = channel.to_owned();
    let own = own_addrs(context).await?;
    let link = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            core.link_of(id, &own, None).ok_or_else(|| {
                EngineError::new(ErrorKind::NotFound, "the channel has no charter yet")
            })
        })
        .await??;
    let invitation = None;
    context.emit(Event::Link { link, invitation }).await;
    Ok(())
}

/// Where others reach this node, or would if it ran.
pub(super) async fn own_addrs(context: &Context) -> Result<Vec<SocketAddr>, EngineError> {
    let listen = context.config().listen;
    let store = context.store().clone();
    let unknown = listen.is_none_or(|addr| addr.port() == 0) && engine::last_port(&store).is_none();
    if context.engine.listen.is_none() && unknown {
        context
            .emit(Event::Warning {
                message: format!(
                    "no node has run here yet, so the link names this machine's addresses with the usual port {DEFAULT_PORT}; start `samara node`, and ask again if that gets another port"
                ),
            })
            .await;
    }
    context
        .core()
        .call(move |core| {
            let own = core.own_addrs();
            if !own.is_empty() {
                return own;
            }
            // No node runs: where it listened last, or would.
            let port = engine::last_port(&store).unwrap_or(DEFAULT_PORT);
            let bound = listen.unwrap_or_else(|| ([0, 0, 0, 0], port).into());
            addrs::reachable(match bound.port() {
                0 => (bound.ip(), port).into(),
                _ => bound,
            })
        })
        .await
}

pub(super) async fn unsubscribe(context: &Context, channel: &str) -> Result<(), EngineError> {
    let text = channel.to_owned();
    let id = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            if core.channels[&id].meta.role == Role::Owner {
                return Err(EngineError::new(
                    ErrorKind::Denied,
                    "this node owns the channel; `samara forget` drops it for good",
                ));
            }
            core.drop_channel(id, true);
            Ok(id)
        })
        .await??;
    // What was written to the index is there when the command ends.
    context
        .blocking(|store| Ok(store.write(Batch::new())?))
        .await?;
    context
        .emit(Event::Unsubscribed {
            channel: id.to_string(),
        })
        .await;
    Ok(())
}
