//! Why a transfer is slow.

use samara_wire::ContentId;

use super::{Context, report::content_named, resolve};
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    core::Core,
};

pub(super) async fn explain(context: &Context, what: String) -> Result<(), EngineError> {
    let text = what.clone();
    let found = context
        .core()
        .call(move |core| named(core, &text))
        .await??;
    let id = match found {
        Some(id) => id,
        None => content_named(context, &what).await?,
    };
    let inner = context.engine.clone();
    let explained = context
        .core()
        .call(move |core| core.explain(&id, inner.obtaining.is_held(&id)))
        .await?;
    let Some(explained) = explained else {
        return Err(EngineError::new(
            ErrorKind::NotFound,
            format!("nothing is known of content {id} here"),
        ));
    };
    context.emit(Event::Explained(Box::new(explained))).await;
    Ok(())
}

/// The content that is meant: by its id as records and transfers have it, or a channel's
/// newest. `None`: perhaps the store knows.
fn named(core: &mut Core, text: &str) -> Result<Option<ContentId>, EngineError> {
    match resolve(core, text) {
        Ok(id) => {
            let newest = core.channels[&id].newest_content();
            let content = newest.map(|(_, content)| content.id).ok_or_else(|| {
                EngineError::new(
                    ErrorKind::NotFound,
                    format!("channel \"{text}\" has no release yet"),
                )
            })?;
            return Ok(Some(content));
        }
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let moving = core.transfers.values().map(|t| *t.content.id());
    let items = core.channels.values().flat_map(|c| c.items.values());
    let recorded = items
        .flat_map(|item| item.contents())
        .map(|content| content.id);
    let begins = |id: &ContentId| text.len() >= 4 && id.to_string().starts_with(text);
    let mut found: Vec<_> = moving.chain(recorded).filter(begins).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(Some(*one)),
        [] => Ok(None),
        _ => Err(EngineError::new(
            ErrorKind::Usage,
            format!("\"{text}\" means several contents; give the id, or more of it"),
        )),
    }
}
