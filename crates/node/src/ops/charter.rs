//! Charters: showing them, making the next one, putting one in force, and choosing
//! between two.

use std::{collections::BTreeSet, path::PathBuf};

use bytes::Bytes;
use samara_graph::{
    Charter, CharterDraft, CharterHash, Graph, Publishers, Readers, Role, SecretKey, TooMany,
    WallMs, limits,
};
use samara_wire::{ChannelId, PeerId};

use super::{Context, members::durable, resolve};
use crate::{
    EngineError,
    api::{CharterEdit, ErrorKind, Event},
    charter::{draft_view, read_draft, view, write_draft},
    core::{Core, wall_ms},
    identity::Keystore,
};

pub(super) async fn show(context: &Context, channel: &str) -> Result<(), EngineError> {
    let text = channel.to_owned();
    let shown = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            view(&core.channels[&id].graph).ok_or_else(no_charter)
        })
        .await??;
    context.emit(Event::Charter(Box::new(shown))).await;
    Ok(())
}

/// Makes the next version. It is in force at once if the keys of this keystore are
/// enough, unless a draft is wanted.
pub(super) async fn edit(
    context: &Context,
    channel: &str,
    change: CharterEdit,
    file: PathBuf,
    only_draft: bool,
) -> Result<(), EngineError> {
    let text = channel.to_owned();
    let (id, charter, previous, told) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            let graph = &core.channels[&id].graph;
            let chain = graph.charters().ok_or_else(no_charter)?;
            let newest = chain.versions().last().ok_or_else(no_charter)?.clone();
            let (charter, told) = next(graph, &change)?;
            Ok::<_, EngineError>((id, charter, newest, told))
        })
        .await??;
    for message in told {
        context.emit(Event::Warning { message }).await;
    }
    let mut draft = CharterDraft::new(charter, Some(previous)).map_err(wrong)?;
    let data_dir = context.data_dir().to_owned();
    let own = context.core().call(|core| core.key.clone()).await?;
    let roots = draft.unsigned();
    let keys = context
        .blocking(move |_| own_roots(&Keystore::of(&data_dir), own, &roots))
        .await?;
    for key in &keys {
        draft.add_signature(key).map_err(wrong)?;
    }
    if !only_draft && let Ok(signed) = draft.clone().finish() {
        return put_in_force(context, id, signed.bytes().clone()).await;
    }
    let (at, written) = (file.clone(), draft.clone());
    context
        .blocking(move |_| write_draft(&at, &written, false))
        .await?;
    emit_draft(context, id, file, &draft).await;
    Ok(())
}

/// Puts a draft that enough roots have signed in force.
pub(super) async fn apply(context: &Context, file: PathBuf) -> Result<(), EngineError> {
    let at = file.clone();
    let draft = context.blocking(move |_| read_draft(&at)).await?;
    let before = draft.charter().previous;
    let id = context
        .core()
        .call(move |core| channel_of(core, before))
        .await??;
    let next = draft.charter().clone();
    let check = move |core: &mut Core| {
        let graph = &core.channels[&id].graph;
        let chain = graph.charters().ok_or_else(no_charter)?;
        trusts_nobody_anew(graph, chain.current(), &next)
    };
    context.core().call(check).await??;
    let unfinished = draft_view(&file, &draft);
    let signed = draft.finish().map_err(|_| {
        EngineError::new(
            ErrorKind::Denied,
            format!(
                "{}: {} more of the roots must sign it first: `samara channel sign`; not signed by {}",
                file.display(),
                unfinished.missing,
                unfinished.unsigned.join(", ")
            ),
        )
    })?;
    put_in_force(context, id, signed.bytes().clone()).await
}

/// Ends a fork: says which of the two charters is the right one.
pub(super) async fn choose(
    context: &Context,
    channel: &str,
    hash: &str,
) -> Result<(), EngineError> {
    let (text, hash) = (channel.to_owned(), hash.to_owned());
    let shown = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            let fork = core.channels[&id].graph.fork().ok_or_else(|| {
                EngineError::new(
                    ErrorKind::NotFound,
                    "no charter contradicts the channel's: there is nothing to choose",
                )
            })?;
            let both = [fork.ours.hash, fork.theirs.reference().hash];
            let chosen = one_of(&both, &hash).ok_or_else(|| {
                EngineError::new(
                    ErrorKind::Usage,
                    format!(
                        "\"{hash}\" is the beginning of neither charter: here it is {}, elsewhere {}",
                        both[0], both[1]
                    ),
                )
            })?;
            core.with_graph(id, |graph, now, out| graph.choose(now, chosen, out))?;
            core.keep_forks(id);
            Ok::<_, EngineError>(view(&core.channels[&id].graph))
        })
        .await??;
    durable(context).await?;
    if let Some(shown) = shown {
        context.emit(Event::Charter(Box::new(shown))).await;
    }
    Ok(())
}

fn one_of(both: &[CharterHash; 2], text: &str) -> Option<CharterHash> {
    let mut found = both.iter().filter(|h| h.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) if !text.is_empty() => Some(*one),
        _ => None,
    }
}

async fn emit_draft(context: &Context, id: ChannelId, file: PathBuf, draft: &CharterDraft) {
    let mut shown = draft_view(&file, draft);
    shown.channel = Some(id.to_string());
    context.emit(Event::CharterDraft(Box::new(shown))).await;
}

/// Keys of this keystore that are among `roots`; the node's own first.
fn own_roots(
    keystore: &Keystore,
    own: SecretKey,
    roots: &BTreeSet<PeerId>,
) -> Result<Vec<SecretKey>, EngineError> {
    let mut keys = Vec::new();
    if roots.contains(&own.peer_id()) {
        keys.push(own);
    }
    for named in keystore.list()? {
        let known = keys.iter().any(|key| key.peer_id() == named.peer);
        if !known && roots.contains(&named.peer) {
            let key = keystore.load(&named.name)?;
            keys.push(SecretKey::from_bytes(key.as_bytes()));
        }
    }
    Ok(keys)
}

/// The channel whose charter a draft follows.
fn channel_of(core: &Core, before: Option<CharterHash>) -> Result<ChannelId, EngineError> {
    let has = |graph: &Graph| {
        let versions = graph.charters().into_iter().flat_map(|c| c.versions());
        let mut hashes = versions.map(|v| v.reference().hash);
        hashes.any(|hash| Some(hash) == before)
    };
    let mut found = core.channels.iter().filter(|(_, c)| has(&c.graph));
    let id = found.next().map(|(id, _)| *id);
    id.ok_or_else(|| {
        EngineError::new(
            ErrorKind::NotFound,
            "the draft is of a channel that is not on this node, or follows a charter that is not here yet",
        )
    })
}

async fn put_in_force(context: &Context, id: ChannelId, bytes: Bytes) -> Result<(), EngineError> {
    let shown = context
        .core()
        .call(move |core| {
            core.adopt_charter(id, bytes)?;
            view(&core.channels[&id].graph).ok_or_else(no_charter)
        })
        .await??;
    durable(context).await?;
    context.emit(Event::Charter(Box::new(shown))).await;
    Ok(())
}

fn no_charter() -> EngineError {
    EngineError::new(ErrorKind::NotFound, "the channel has no charter yet")
}

fn wrong(error: samara_graph::CharterError) -> EngineError {
    EngineError::new(ErrorKind::Usage, error.to_string())
}

fn usage(message: impl Into<String>) -> EngineError {
    EngineError::new(ErrorKind::Usage, message)
}

/// The charter that `change` makes of the one in force, and what is to be said of it.
fn next(graph: &Graph, change: &CharterEdit) -> Result<(Charter, Vec<String>), EngineError> {
    let chain = graph.charters().ok_or_else(no_charter)?;
    let old = chain.current();
    let created = WallMs(wall_ms().max(old.created.0));
    let mut new = old.successor(chain.reference().hash, created);
    let mut told = Vec::new();
    if let Some(name) = &change.name {
        new.name.clone_from(name);
    }
    change_people(&mut new.roots, &change.add_roots, &change.remove_roots)?;
    change_people(&mut new.admins, &change.add_admins, &change.remove_admins)?;
    new.threshold = change.threshold.unwrap_or(old.threshold);
    change_publishers(&mut new, change)?;
    trusts_nobody_anew(graph, old, &new)?;
    if let Some(readers) = &change.readers {
        new.readers = match readers.as_str() {
            "everyone" => Readers::Everyone,
            "members" => Readers::Members,
            other => {
                return Err(usage(format!(
                    "\"{other}\": readers are `everyone` or `members`"
                )));
            }
        };
    }
    let limits = &mut new.limits;
    if let Some(bytes) = change.record_bytes {
        limits.record_bytes = bytes.try_into().unwrap_or(u32::MAX);
    }
    limits.records_per_author = change
        .records_per_author
        .unwrap_or(limits.records_per_author);
    limits.records_total = change.records_total.unwrap_or(limits.records_total);
    limits.lifetime_ms = change.lifetime_ms.unwrap_or(limits.lifetime_ms);
    if let Some(lease) = change.presence_ms {
        new.presence_ms = (lease > 0).then_some(lease);
    }
    new.deferred_expiry = change.deferred_expiry.unwrap_or(old.deferred_expiry);
    let closes = old.readers == Readers::Everyone && new.readers == Readers::Members;
    if closes && old.announced && change.announced.is_none() {
        told.push("the channel is private now, and is announced in the DHT no more; `--announced on` announces it".to_owned());
    }
    new.announced = change.announced.unwrap_or(old.announced && !closes);
    if new.threshold > 1 {
        owners_become_admins(old, &mut new, &mut told);
    }
    let added = change.add_publishers.iter().flat_map(|id| id.parse());
    unname_publishers(old, &mut new, &added.collect(), &mut told);
    keep_their_word(graph, old, &mut new, &change.disown, &mut told)?;
    let unchanged = Charter {
        created: old.created,
        version: old.version,
        previous: old.previous,
        ..new.clone()
    };
    if unchanged == *old {
        return Err(usage(
            "nothing to change; `samara channel edit --help` lists what can be changed",
        ));
    }
    if new.threshold > 1 && new.admins.is_empty() {
        told.push(
            "with this charter nobody can invite, grant or revoke: name admins with --add-admin"
                .into(),
        );
    }
    new.encode().map_err(wrong)?;
    Ok((new, told))
}

/// A charter's owners and admins outrank the words of other admins about them: who was
/// revoked would be so no more, and what it makes up as of before would count again.
fn trusts_nobody_anew(graph: &Graph, old: &Charter, new: &Charter) -> Result<(), EngineError> {
    let refused = |message| Err(EngineError::new(ErrorKind::Denied, message));
    let named = |charter: &Charter| -> BTreeSet<PeerId> {
        match &charter.publishers {
            Publishers::Named(list) => list.clone(),
            Publishers::Members => BTreeSet::new(),
        }
    };
    let roots = &new.roots - &old.roots;
    let admins = &(&new.admins - &old.admins) - &old.roots;
    for peer in &(&roots | &admins) | &(&named(new) - &named(old)) {
        if graph.is_revoked(&peer) {
            return refused(format!(
                "{peer} was revoked, which lasts as long as the channel: name a new identity"
            ));
        }
        let role = match roots.contains(&peer) {
            true => Role::Owner,
            false => Role::Admin,
        };
        let decides = role == Role::Owner || admins.contains(&peer);
        if decides && graph.would_shed_seal(&peer, role, new.threshold) {
            return refused(format!(
                "{peer} had a role that was lowered, and what it wrote until then is closed, which a charter that names it would undo: name a new identity{}",
                match role == Role::Admin && new.threshold == 1 {
                    true => ", or make it an admin with `samara role` first",
                    false => "",
                }
            ));
        }
    }
    Ok(())
}

/// Owners who decide alone no longer go on as admins.
fn owners_become_admins(old: &Charter, new: &mut Charter, told: &mut Vec<String>) {
    if old.threshold > 1 {
        return;
    }
    for root in old.roots.intersection(&new.roots) {
        if new.admins.insert(*root) {
            told.push(format!(
                "{root} was an owner and decides nothing alone any more: it becomes an admin, and what it granted and revoked until now stays"
            ));
        }
    }
}

/// Who is neither root nor admin any more publishes no more either: its key may have
/// been stolen.
fn unname_publishers(
    old: &Charter,
    new: &mut Charter,
    added: &BTreeSet<PeerId>,
    told: &mut Vec<String>,
) {
    for peer in &(&old.roots | &old.admins) - &(&new.roots | &new.admins) {
        if let Publishers::Named(list) = &mut new.publishers
            && !added.contains(&peer)
            && list.remove(&peer)
        {
            told.push(format!(
                "{peer} is no named publisher any more either; --add-publisher keeps it one"
            ));
        }
    }
    for root in (&old.roots - &new.roots).intersection(&new.admins) {
        told.push(format!(
            "{root} is a root no more, and still an admin; --remove-admin takes that away too"
        ));
    }
}

/// What owners and admins granted and revoked stays when they are that no more: else
/// all that they ever gave would be gone.
fn keep_their_word(
    graph: &Graph,
    old: &Charter,
    new: &mut Charter,
    disown: &[String],
    told: &mut Vec<String>,
) -> Result<(), EngineError> {
    let mut among: BTreeSet<PeerId> = old.former.keys().copied().collect();
    among.extend(graph.losers(new).into_keys());
    let disowned = disown.iter().map(|text| one_person(&among, text));
    let disowned = disowned.collect::<Result<_, _>>()?;
    let most = limits::MAX_FORMER_KEPT;
    let listed = graph.list_former(new, &disowned).map_err(|TooMany(n)| {
        usage(format!(
            "{n} grants, invitations, revocations and retractions hang on those who are owners or admins no more, and a charter lists at most {most}: let others grant and revoke anew what is to stay, and --disown who wrote most of them"
        ))
    })?;
    if listed.fallen > 0 {
        told.push(format!(
            "a charter lists at most {most} records of former owners and admins: the {} oldest of those that grant and revoke nothing fall; --add-publisher keeps all of an author",
            listed.fallen
        ));
    }
    if listed.forgotten > 0 {
        told.push(format!(
            "{} records that the charter lists are not on this node, and are listed no more for want of room",
            listed.forgotten
        ));
    }
    Ok(())
}

fn change_publishers(new: &mut Charter, change: &CharterEdit) -> Result<(), EngineError> {
    match change.publishers.as_deref() {
        None => {}
        Some("members") => new.publishers = Publishers::Members,
        Some("named") if new.publishers == Publishers::Members => {
            new.publishers = Publishers::Named(BTreeSet::new());
        }
        Some("named") => {}
        Some(other) => {
            return Err(usage(format!(
                "\"{other}\": publishers are `named` or `members`"
            )));
        }
    }
    let (add, remove) = (&change.add_publishers, &change.remove_publishers);
    match &mut new.publishers {
        Publishers::Named(list) => change_people(list, add, remove),
        Publishers::Members if add.is_empty() && remove.is_empty() => Ok(()),
        Publishers::Members => Err(usage(
            "all members publish here; --publishers named makes it a list",
        )),
    }
}

fn change_people(
    list: &mut BTreeSet<PeerId>,
    add: &[String],
    remove: &[String],
) -> Result<(), EngineError> {
    for text in remove {
        let peer = one_person(list, text)?;
        list.remove(&peer);
    }
    for text in add {
        let peer = text.parse::<PeerId>().map_err(|_| {
            usage(format!(
                "\"{text}\" is no id; `samara id` prints one, 52 letters and digits"
            ))
        })?;
        list.insert(peer);
    }
    Ok(())
}

/// Somebody of a list, by the id or the beginning of it.
fn one_person(list: &BTreeSet<PeerId>, text: &str) -> Result<PeerId, EngineError> {
    let mut found = list.iter().filter(|p| p.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) if text.len() >= 4 => Ok(*one),
        (Some(_), _) => Err(usage(format!(
            "\"{text}\" may mean several; write more of the id"
        ))),
        (None, _) => Err(EngineError::new(
            ErrorKind::NotFound,
            format!("\"{text}\" is not there to be removed; `samara channel show` lists who is"),
        )),
    }
}

impl Core {
    /// Puts the next charter of a channel in force, signed by whom it takes.
    fn adopt_charter(&mut self, id: ChannelId, bytes: Bytes) -> Result<(), EngineError> {
        let signed = samara_graph::SignedCharter::decode(&bytes).map_err(wrong)?;
        let reference = signed.reference();
        let channel = self
            .channels
            .get(&id)
            .ok_or_else(|| EngineError::new(ErrorKind::NotFound, "the channel is not here"))?;
        let graph = &channel.graph;
        if graph.fork().is_some() {
            return Err(EngineError::new(
                ErrorKind::Record,
                "two charters of this channel contradict each other; choose one first: `samara channel choose`",
            ));
        }
        let chain = graph.charters().ok_or_else(no_charter)?;
        let held = chain.version(reference.version).map(|v| v.reference());
        if held == Some(reference) {
            return Ok(());
        }
        // Offered to the others it would be a fork, made by our own hand.
        let mut longer = chain.clone();
        longer.push(signed).map_err(|error| match error {
            samara_graph::CharterError::Fork { .. } => EngineError::new(
                ErrorKind::Exists,
                format!(
                    "the channel's charter is of version {} meanwhile, and this one does not follow from it; make the change anew: `samara channel edit`",
                    chain.reference().version
                ),
            ),
            other => EngineError::new(ErrorKind::Denied, other.to_string()),
        })?;
        let mono = self.now();
        self.with_graph(id, |graph, now, out| {
            // It was checked: nobody is to blame.
            let _ = graph.offer_charters(now, mono, &[bytes], out);
            Ok(())
        })?;
        self.notify();
        Ok(())
    }
}
