//! What a node does when it is asked: one function a request, over the core and
//! the store.

mod archive;
mod channel;
mod charter;
mod consult;
mod explain;
mod export;
mod follow;
mod get;
mod import;
mod issue;
mod limit;
mod manifest;
mod members;
mod obtain;
mod place;
mod publish;
mod record;
mod report;
mod retain;
mod seek;
mod share;
mod standing;
mod tally;
mod tell;
mod visited;
mod watch;

use std::{path::Path, sync::Arc, time::Duration};

use samara_graph::{Kind, WallMs};
use samara_store::Store;
use samara_wire::{ChannelId, RecordId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use follow::follow_all;

use crate::{
    Engine, EngineError,
    api::{ErrorKind, Event, Request},
    config::NodeConfig,
    core::{Channel, Core, CoreHandle, wall_ms},
    engine::Inner,
    receipt::{self, Receipt},
};

/// Who asks: where events go, and how the asker breaks off.
#[derive(Clone)]
pub(crate) struct Context {
    engine: Arc<Inner>,
    events: Option<mpsc::Sender<Event>>,
    /// The name under which the asker would ask again.
    name: Option<String>,
    /// How long the asker waits for peers, if it says so.
    patience: Option<Duration>,
    cancel: CancellationToken,
}

impl Context {
    pub(crate) fn new(
        engine: &Engine,
        events: mpsc::Sender<Event>,
        name: Option<String>,
        patience: Option<Duration>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            engine: engine.inner().clone(),
            events: Some(events),
            name,
            patience,
            cancel,
        }
    }

    /// For what the node does of itself; ends with the node.
    pub(crate) fn background(engine: &Engine) -> Self {
        Self {
            engine: engine.inner().clone(),
            events: None,
            name: None,
            patience: None,
            cancel: CancellationToken::new(),
        }
    }

    fn core(&self) -> &CoreHandle {
        &self.engine.core
    }

    fn store(&self) -> &Store {
        &self.engine.store
    }

    fn config(&self) -> &NodeConfig {
        &self.engine.config
    }

    /// How long to wait for peers: as the asker says, else as the node is set.
    fn timeout(&self) -> Duration {
        self.patience.unwrap_or(self.engine.config.timeout)
    }

    fn data_dir(&self) -> &Path {
        &self.engine.config.data_dir
    }

    async fn emit(&self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.send(event).await;
        }
    }

    /// What is to be kept with a record that answers this request.
    fn receipt(&self, event: impl FnOnce(RecordId) -> Event + Send + 'static) -> Option<Receipt> {
        Some(Receipt::new(self.name.clone()?, event))
    }

    /// Drops the event if the asker is slow: another like it follows.
    fn emit_lossy(&self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.try_send(event);
        }
    }

    /// Until `future` is done or the asker breaks off.
    async fn unless_cancelled<T>(
        &self,
        future: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        tokio::select! {
            result = future => result,
            () = self.cancel.cancelled() => Err(interrupted()),
        }
    }

    /// Runs what blocks on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Store) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let store = self.store().clone();
        tokio::task::spawn_blocking(move || f(&store))
            .await
            .unwrap_or_else(|e| Err(EngineError::new(ErrorKind::Internal, e.to_string())))
    }
}

fn interrupted() -> EngineError {
    EngineError::new(ErrorKind::Interrupted, "interrupted")
}

/// Carries out a request.
pub(crate) async fn run(context: Context, request: Request) -> Result<(), EngineError> {
    if let Some(name) = context.name.clone().filter(|_| request.is_done_once()) {
        let done = context.blocking(move |store| receipt::find(store, &name));
        if let Some(answer) = done.await? {
            context.emit(answer).await;
            return Ok(());
        }
    }
    match request {
        Request::Share { path, portable } => share::share(&context, path, portable).await,
        Request::Ls { link } => get::ls(&context, &link).await,
        Request::Get {
            link,
            into,
            only,
            seed,
            force,
            in_order,
            file_only,
        } => {
            let order = get::Order {
                link,
                into,
                only,
                seed,
                force,
                in_order,
                file_only,
            };
            get::get(&context, order).await
        }
        Request::ChannelCreate { name, private } => channel::create(&context, &name, private).await,
        Request::Charter { channel } => charter::show(&context, &channel).await,
        Request::CharterEdit {
            channel,
            change,
            file,
            only_draft,
        } => charter::edit(&context, &channel, *change, file, only_draft).await,
        Request::CharterApply { file } => charter::apply(&context, file).await,
        Request::CharterChoose { channel, hash } => {
            charter::choose(&context, &channel, &hash).await
        }
        Request::Invite {
            channel,
            role,
            expires_ms,
            member_ms,
            uses,
        } => {
            let order = members::InviteOrder {
                channel,
                role,
                expires_ms,
                member_ms,
                uses,
            };
            members::invite(&context, order).await
        }
        Request::Join { link, into } => members::join(&context, &link, into).await,
        Request::Members { channel } => members::members(&context, &channel).await,
        Request::Revoke {
            channel,
            peer,
            erase,
            pardon,
            invitation: false,
        } => members::revoke(&context, &channel, &peer, members::keep(erase, pardon)?).await,
        Request::Revoke {
            channel,
            peer,
            erase,
            pardon,
            invitation: true,
        } => {
            let keep = members::keep(erase, pardon)?;
            members::revoke_invitation(&context, &channel, &peer, keep).await
        }
        Request::Role {
            channel,
            peer,
            role,
            expires_ms,
        } => members::set_role(&context, &channel, &peer, &role, expires_ms).await,
        Request::Leave { channel } => members::leave(&context, &channel).await,
        Request::ChannelList => channel::list(&context).await,
        Request::Link { channel } => channel::link(&context, &channel).await,
        Request::Publish {
            channel,
            path,
            version,
            notes,
            portable,
            priority,
            parity,
        } => {
            let draft = publish::ReleaseDraft {
                path,
                version,
                notes,
                portable,
                priority,
                parity,
            };
            publish::publish(&context, &channel, draft).await
        }
        Request::Unpublish { channel, version } => {
            publish::unpublish(&context, &channel, &version).await
        }
        Request::Post {
            channel,
            subject,
            body,
            attach,
        } => issue::post(&context, &channel, subject, body, attach).await,
        Request::Subscribe {
            link,
            into,
            once,
            wait,
            mirror,
            keep_share,
        } => {
            let order = follow::Order {
                link,
                into,
                once,
                wait,
                mirror,
                keep_share,
            };
            follow::subscribe(&context, order).await
        }
        Request::Unsubscribe { channel } => channel::unsubscribe(&context, &channel).await,
        Request::Read { channel, issue } => {
            issue::read(&context, channel.as_deref(), issue.as_deref()).await
        }
        Request::Headings {
            channel,
            skip,
            limit,
        } => issue::headings(&context, channel, skip, limit).await,
        Request::Records {
            channel,
            filter,
            bodies,
        } => record::list(&context, &channel, filter.as_deref(), bodies).await,
        Request::RecordPut {
            channel,
            kind,
            key,
            attributes,
            lifetime_ms,
            priority,
            body,
        } => {
            let put = record::Put {
                kind,
                key,
                attributes,
                lifetime_ms,
                priority,
                body,
            };
            record::put(&context, &channel, put).await
        }
        Request::RecordRetract { channel, kind, key } => {
            record::retract(&context, &channel, kind, key).await
        }
        Request::RecordGet {
            channel,
            record,
            output,
        } => record::get(&context, &channel, &record, output).await,
        Request::Export {
            channel,
            file,
            with_content,
        } => export::export(&context, &channel, file, with_content).await,
        Request::Import { file } => import::import(&context, file).await,
        Request::Watch { channel, since } => watch::watch(&context, &channel, since).await,
        Request::Tell {
            channel,
            peer,
            body,
        } => tell::tell(&context, &channel, &peer, &body).await,
        Request::Status => report::status(&context).await,
        Request::Peers => report::peers(&context).await,
        Request::Explain { what } => explain::explain(&context, what).await,
        Request::Limit(order) => limit::limit(&context, order).await,
        Request::Pause { what } => limit::pause(&context, what).await,
        Request::Resume { what } => limit::resume(&context, what).await,
        Request::Gc { dry_run } => report::gc(&context, dry_run).await,
        Request::Forget { what } => report::forget(&context, &what).await,
        Request::Resolve { what, scope, count } => {
            seek::resolve_name(&context, &what, scope, count).await
        }
        Request::Id => report::id(&context).await,
    }
}

/// The channel that a user means: by id, by name, or by the beginning of an id.
fn resolve(core: &Core, text: &str) -> Result<ChannelId, EngineError> {
    if let Ok(id) = text.parse::<ChannelId>() {
        if core.channels.contains_key(&id) {
            return Ok(id);
        }
        return Err(EngineError::new(
            ErrorKind::NotFound,
            format!("channel {text} is not on this node"),
        ));
    }
    let matching = |f: &dyn Fn(&ChannelId, &Channel) -> bool| -> Vec<ChannelId> {
        core.channels
            .iter()
            .filter(|(id, channel)| f(id, channel))
            .map(|(id, _)| *id)
            .collect()
    };
    let by_name = matching(&|_, channel| channel.name().as_deref() == Some(text));
    let found = if by_name.is_empty() && text.len() >= 4 {
        matching(&|id, _| id.to_string().starts_with(text))
    } else {
        by_name
    };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(EngineError::new(
            ErrorKind::NotFound,
            format!(
                "no channel is called \"{text}\" here; `samara channel list` shows those that are"
            ),
        )),
        several => Err(EngineError::new(
            ErrorKind::Usage,
            format!(
                "\"{text}\" means {} channels; use the id: {}",
                several.len(),
                several
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        )),
    }
}

/// A link, or why the text is none.
fn parse_link(text: &str) -> Result<samara_graph::Link, EngineError> {
    text.trim()
        .parse::<samara_graph::Link>()
        .map_err(|e| EngineError::new(ErrorKind::Link, e.to_string()))
}

/// A channel in which this node's identity may publish records of a kind.
fn writable(core: &Core, text: &str, kind: Kind) -> Result<ChannelId, EngineError> {
    let id = resolve(core, text)?;
    let graph = &core.channels[&id].graph;
    if graph.charters().is_none() || graph.can(&core.me, kind, WallMs(wall_ms())) {
        // Without a charter, the graph says what is lacking.
        return Ok(id);
    }
    Err(EngineError::new(
        ErrorKind::Denied,
        format!(
            "this identity may not publish in \"{text}\"; an owner or admin can let it: samara role {text} {} publisher",
            core.me
        ),
    ))
}
