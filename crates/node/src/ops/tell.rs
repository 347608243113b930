//! Telling one member something, without anybody else.

use std::time::Duration;

use data_encoding::BASE64;
use samara_wire::{ChannelId, PeerId};
use tokio::time::timeout;

use super::{Context, get::leave, manifest::attempt, members::member, resolve};
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    core::Core,
    fetch::HERE,
    limits::MAX_WORDS,
    message::Ask,
};

/// An answer is one byte; who does not send it in this time is gone.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) async fn tell(
    context: &Context,
    channel: &str,
    peer: &str,
    body: &str,
) -> Result<(), EngineError> {
    let usage = |message: String| EngineError::new(ErrorKind::Usage, message);
    let body = BASE64
        .decode(body.as_bytes())
        .map_err(|e| usage(format!("the body is not base64: {e}")))?;
    if body.is_empty() || body.len() > MAX_WORDS {
        return Err(usage(format!(
            "1 to {MAX_WORDS} bytes can be told; what is larger is a record (`samara record put`), or content, to be published"
        )));
    }
    let (channel, peer) = (channel.to_owned(), peer.to_owned());
    let (id, peer) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &channel)?;
            let peer = member(core, id, &peer)?;
            if peer == core.me {
                return Err(EngineError::new(
                    ErrorKind::Usage,
                    "that is this node itself",
                ));
            }
            if !core.seek(peer) {
                return Err(EngineError::new(
                    ErrorKind::Usage,
                    "too many peers are being looked for; try again",
                ));
            }
            core.visit(id);
            Ok((id, peer))
        })
        .await??;
    let bytes = body.len() as u64;
    let told = context.unless_cancelled(say(context, id, peer, body)).await;
    let _ = context.core().call(move |core| core.unseek(peer)).await;
    leave(context, id).await;
    told?;
    context
        .emit(Event::Told {
            channel: id.to_string(),
            peer_id: peer.to_string(),
            bytes,
        })
        .await;
    Ok(())
}

/// That a member could not be told anything, and where it was looked for.
fn unreached(core: &Core, id: ChannelId, peer: PeerId) -> String {
    match core.known_in(id, &peer) {
        Some(known) if !known.ways().is_empty() => format!(
            "{peer} could not be reached in the channel; tried {}",
            attempt(core, &peer, known)
        ),
        _ => format!("{peer} could not be reached: no address of it is known"),
    }
}

async fn say(
    context: &Context,
    id: ChannelId,
    peer: PeerId,
    body: Vec<u8>,
) -> Result<(), EngineError> {
    let connected = context
        .core()
        .wait_for(move |core| core.connection_in(id, peer));
    let Ok(connection) = timeout(context.timeout(), connected).await else {
        let message = context.core().call(move |core| unreached(core, id, peer));
        return Err(EngineError::new(ErrorKind::NoPeer, message.await?));
    };
    let connection = connection?;
    let ask = Ask::Words {
        channel: id,
        body: body.into(),
    };
    let answer = async {
        // One byte fits whatever room the connection has for answers.
        let (mut send, mut stream) = connection.open_bi().await.ok()?;
        send.write_all(&ask.encode()).await.ok()?;
        let _ = send.finish();
        let mut answer = [0];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer[0])
    };
    let lost = || EngineError::new(ErrorKind::NoPeer, format!("{peer} did not answer"));
    match timeout(ANSWER, answer).await.ok().flatten() {
        Some(HERE) => Ok(()),
        Some(_) => Err(EngineError::new(
            ErrorKind::Denied,
            format!(
                "{peer} takes nothing: nobody watches the channel there, or it has enough for now"
            ),
        )),
        None => Err(lost()),
    }
}
