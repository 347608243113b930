//! Limits and pauses, ordered while the node runs.

use samara_wire::ChannelId;

use super::{Context, report::content_named, resolve};
use crate::{
    EngineError,
    api::{ErrorKind, Event, LimitOrder, LimitStatus, Limits},
    core::Core,
    limit::{Held, Line, MAX_NAMED, Orders, Why, local_time},
};

pub(super) async fn limit(context: &Context, order: LimitOrder) -> Result<(), EngineError> {
    if order == LimitOrder::default() {
        return show(context).await;
    }
    change(context, move |core, orders| {
        let channel = match &order.channel {
            Some(channel) => Some(resolve(core, channel)?.to_string()),
            None => None,
        };
        if order.reset {
            orders.reset(channel.as_deref());
        }
        for (what, number) in [
            ("connections", order.max_connections),
            ("upload slots", order.upload_slots),
        ] {
            if number == Some(0) {
                let message = format!("{what}: at least 1; `samara pause` stops everything");
                return Err(EngineError::new(ErrorKind::Usage, message));
            }
        }
        orders.leech = order.leech.or(orders.leech);
        orders.no_wan = order.no_wan.or(orders.no_wan);
        orders.max_connections = order.max_connections.or(orders.max_connections);
        orders.upload_slots = order.upload_slots.or(orders.upload_slots);
        orders.upload_policy = order.upload_policy.or(orders.upload_policy);
        let rates = match channel {
            None => &mut orders.rates,
            Some(id) => {
                if orders.channels.len() >= MAX_NAMED && !orders.channels.contains_key(&id) {
                    return Err(too_many("limited"));
                }
                orders.channels.entry(id).or_default()
            }
        };
        for (line, cap) in &order.rates {
            match cap {
                Some(cap) => rates.insert(*line, *cap),
                None => rates.remove(line),
            };
        }
        orders.channels.retain(|_, rates| !rates.is_empty());
        Ok(())
    })
    .await
}

pub(super) async fn pause(context: &Context, what: Option<String>) -> Result<(), EngineError> {
    let what = meant(context, what).await?;
    change(context, move |_, orders| {
        let paused = &mut orders.paused;
        if paused.channels.len() + paused.contents.len() >= MAX_NAMED {
            return Err(too_many("paused"));
        }
        match what {
            Meant::Everything => paused.all = true,
            Meant::Channel(id) => drop(paused.channels.insert(id)),
            Meant::Content(id) => drop(paused.contents.insert(id)),
        }
        Ok(())
    })
    .await
}

pub(super) async fn resume(context: &Context, what: Option<String>) -> Result<(), EngineError> {
    let what = meant(context, what).await?;
    change(context, move |_, orders| {
        let paused = &mut orders.paused;
        let was = match &what {
            Meant::Everything => {
                *paused = Default::default();
                return Ok(());
            }
            Meant::Channel(id) => paused.channels.remove(id),
            Meant::Content(id) => paused.contents.remove(id),
        };
        match (was, paused.all) {
            (true, _) => Ok(()),
            (false, true) => Err(EngineError::new(
                ErrorKind::Usage,
                "everything is paused; `samara resume` without a name lets all go on",
            )),
            (false, false) => Err(EngineError::new(
                ErrorKind::NotFound,
                "that is not paused; `samara limit` shows what is",
            )),
        }
    })
    .await
}

/// What is to be paused, by id.
enum Meant {
    Everything,
    Channel(String),
    Content(String),
}

async fn meant(context: &Context, what: Option<String>) -> Result<Meant, EngineError> {
    let Some(what) = what else {
        return Ok(Meant::Everything);
    };
    let text = what.clone();
    // Contents that are known by a record alone can be paused before they come.
    let found = context
        .core()
        .call(move |core| match resolve(core, &text) {
            Ok(id) => Ok(Some(Meant::Channel(id.to_string()))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(named(core, &text)),
            Err(error) => Err(error),
        })
        .await??;
    match found {
        Some(found) => Ok(found),
        None => Ok(Meant::Content(
            content_named(context, &what).await?.to_string(),
        )),
    }
}

/// The one content that some channel names whose id begins like this.
fn named(core: &Core, text: &str) -> Option<Meant> {
    let items = core.channels.values().flat_map(|c| c.items.values());
    let ids = items
        .flat_map(|item| item.contents())
        .map(|content| content.id.to_string());
    let mut ids = ids.filter(|id| text.len() >= 4 && id.starts_with(text));
    let first = ids.next()?;
    ids.all(|id| id == first).then_some(Meant::Content(first))
}

fn too_many(what: &str) -> EngineError {
    let message = format!("{MAX_NAMED} channels and contents are {what} one by one: no more");
    EngineError::new(ErrorKind::Usage, message)
}

/// Changes what is ordered, keeps it, and says what holds then.
async fn change(
    context: &Context,
    change: impl FnOnce(&Core, &mut Orders) -> Result<(), EngineError> + Send + 'static,
) -> Result<(), EngineError> {
    context
        .core()
        .call(move |core| {
            let mut orders = core.orders.clone();
            change(core, &mut orders)?;
            orders.keep(&core.store);
            core.obey(orders);
            Ok::<_, EngineError>(())
        })
        .await??;
    // On the disk before it is said to hold.
    context
        .blocking(|store| Ok(store.write(samara_store::Batch::new())?))
        .await?;
    show(context).await
}

async fn show(context: &Context) -> Result<(), EngineError> {
    let limits = context.core().call(|core| limits(core)).await?;
    context.emit(Event::Limits(Box::new(limits))).await;
    Ok(())
}

fn limits(core: &Core) -> Limits {
    let (ruling, at) = (core.ruling(), local_time());
    let mut rates: Vec<_> = Line::ALL
        .into_iter()
        .map(|line| status(None, line, ruling.of_node(line, at)))
        .collect();
    let mut channels: Vec<_> = core
        .channels
        .iter()
        .map(|(id, channel)| (name_of(core, id), id, channel.name()))
        .collect();
    channels.sort();
    for (shown, id, name) in channels {
        for line in Line::ALL {
            let held = ruling.of_channel(id, name.as_deref(), line, at);
            if held.why != Why::Default {
                rates.push(status(Some(shown.clone()), line, held));
            }
        }
    }
    let paused = &core.orders.paused;
    let shown = |id: &String| match id.parse::<ChannelId>() {
        Ok(channel) => name_of(core, &channel),
        Err(_) => id.clone(),
    };
    Limits {
        rates,
        leech: ruling.leech(),
        no_wan: ruling.no_wan(),
        max_connections: ruling.max_connections() as u64,
        upload_slots: ruling.upload_slots() as u64,
        upload_policy: ruling.upload_policy(),
        paused: paused.all,
        paused_channels: paused.channels.iter().map(shown).collect(),
        paused_contents: paused.contents.iter().cloned().collect(),
    }
}

fn name_of(core: &Core, id: &ChannelId) -> String {
    let name = core.channels.get(id).and_then(|channel| channel.name());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| id.to_string())
}

fn status(channel: Option<String>, line: Line, held: Held) -> LimitStatus {
    let (why, until) = match held.why {
        Why::Order => ("command", None),
        Why::Hours(until) => ("hours", Some(until)),
        Why::Config => ("configuration", None),
        Why::Default => ("default", None),
    };
    LimitStatus {
        channel,
        line,
        rate: held.rate,
        why: why.to_owned(),
        until,
    }
}
