//! Who belongs to a channel: inviting, joining, roles, revoking, leaving.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use samara_graph::{
    GraphError, Keep, Keeping, Kind, NewGrant, NewInvite, Role as Rank, SecretKey, WallMs,
};
use samara_store::Batch;
use samara_wire::{ChannelId, PeerId, RecordId};

use super::{Context, channel, follow, manifest::no_peer, parse_link, resolve};
use crate::{
    EngineError,
    api::{ErrorKind, Event, InvitationView},
    core::{ChannelMeta, Core, Role, wall_ms},
    identity, rfc3339,
};

/// How long a role lasts if nobody says; it is renewed before that. So long that a
/// channel whose creator is gone for good goes on.
pub(super) const ROLE_LIFETIME: Duration = Duration::from_secs(3_660 * 24 * 3600);
/// How long an invitation may be redeemed if nobody says.
pub(super) const INVITE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long others who redeem an open channel's invitation at the same moment have time
/// to be heard of, after a member took the own redemption: several round trips.
const SETTLES_IN: Duration = Duration::from_secs(1);

/// What `invite` was asked for.
#[derive(Debug)]
pub(super) struct InviteOrder {
    pub(super) channel: String,
    pub(super) role: Option<String>,
    pub(super) expires_ms: Option<u64>,
    pub(super) member_ms: Option<u64>,
    pub(super) uses: Option<u32>,
}

pub(super) async fn invite(context: &Context, order: InviteOrder) -> Result<(), EngineError> {
    let role = rank(order.role.as_deref().unwrap_or("member"))?;
    if role <= Rank::Admin {
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!(
                "no invitation makes anybody {role}: invite a member, and give it the role with `samara role`"
            ),
        ));
    }
    let member = order.member_ms.map_or(ROLE_LIFETIME, Duration::from_millis);
    let lifetime = order
        .expires_ms
        .map_or(INVITE_LIFETIME.min(member), Duration::from_millis);
    if member < lifetime {
        return Err(EngineError::new(
            ErrorKind::Usage,
            "an invitation cannot be used for longer than the membership lasts that it gives: shorten --expires",
        ));
    }
    let uses = order.uses.unwrap_or(1);
    if !(1..=samara_graph::limits::MAX_INVITE_USES).contains(&uses) {
        let most = samara_graph::limits::MAX_INVITE_USES;
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!("an invitation has 1 to {most} uses"),
        ));
    }
    let own = channel::own_addrs(context).await?;
    let mut secret = [0; 32];
    identity::random(&mut secret)?;
    let one_time = SecretKey::from_bytes(&secret);
    let name = order.channel;
    let (link, view) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &name)?;
            let key = core.key.clone();
            let now = WallMs(wall_ms());
            let new = NewInvite {
                role,
                uses,
                until: now.after(lifetime),
                member_until: now.after(member),
                kinds: BTreeSet::new(),
                renewable: order.member_ms.is_none(),
            };
            let invitation = core.with_graph(id, |graph, now, out| {
                graph.invite(now, &key, new, &one_time, out)
            })?;
            let view = InvitationView {
                invitation: invitation.invite.to_string(),
                role: role.label().to_owned(),
                uses,
                expires: rfc3339::format(invitation.until.0),
            };
            let link = core.link_of(id, &own, Some(invitation)).ok_or_else(|| {
                EngineError::new(ErrorKind::NotFound, "the channel has no charter yet")
            })?;
            Ok::<_, EngineError>((link, view))
        })
        .await??;
    durable(context).await?;
    let invitation = Some(view);
    context.emit(Event::Link { link, invitation }).await;
    Ok(())
}

/// Joins a channel by an invitation, and follows it from now on. Done once admitted.
pub(super) async fn join(
    context: &Context,
    link: &str,
    into: Option<PathBuf>,
) -> Result<(), EngineError> {
    let parsed = parse_link(link)?;
    let id = parsed.channel();
    let Some(invitation) = parsed.invitation() else {
        return Err(EngineError::new(
            ErrorKind::Link,
            "the link invites nobody; `samara subscribe` follows an open channel, and `samara invite` makes a link that admits",
        ));
    };
    let expires = invitation.until;
    let standing = context
        .core()
        .call(move |core| {
            let channel = core.channels.get(&id)?;
            let role = channel.graph.role_of(&core.me, WallMs(wall_ms()));
            let role = role.filter(|_| !core.is_settling(id));
            Some((role, channel.meta.clone()))
        })
        .await?;
    let is_member = matches!(standing, Some((Some(_), _)));
    if expires < WallMs(wall_ms()) && !is_member {
        return Err(EngineError::new(
            ErrorKind::Denied,
            format!(
                "the invitation expired on {}; ask for a new one",
                rfc3339::format(expires.0)
            ),
        ));
    }
    let order = follow::Order {
        link: link.to_owned(),
        into,
        once: false,
        wait: false,
        mirror: false,
        keep_share: false,
    };
    follow::store(context, &order).await?;
    let admitted = admitted(context, id, is_member).await;
    if admitted.is_err() {
        // What was not joined leaves nothing behind, and what was there is as it was.
        let earlier = standing.map(|(_, meta)| meta);
        context
            .core()
            .call(move |core| core.undo(id, earlier))
            .await?;
    }
    durable(context).await?;
    let (name, role) = admitted?;
    context
        .emit(Event::Joined {
            channel: id.to_string(),
            name,
            role,
        })
        .await;
    Ok(())
}

/// Waits until this node has a role in a channel, and it is settled that it has.
async fn admitted(
    context: &Context,
    id: ChannelId,
    is_member: bool,
) -> Result<(String, String), EngineError> {
    let begin = move |core: &mut Core| {
        core.visit(id);
        core.redeem_openly(id);
    };
    context.core().call(begin).await?;
    let taken = context.core().wait_for(move |core| {
        let found = core.admission(id)?;
        // Nobody was at the door of an open channel: somebody has to take it first.
        (found.is_err() || !core.is_settling(id)).then(|| (found, core.is_redeemed(id)))
    });
    let limit = context.timeout();
    let settled = async {
        let (found, redeemed) = match tokio::time::timeout(limit, taken).await {
            Ok(taken) => taken?,
            Err(_) => return Err(not_admitted(context, id).await?),
        };
        if found.is_err() || is_member || !redeemed {
            return found;
        }
        tokio::time::sleep(SETTLES_IN).await;
        let found = context.core().wait_for(move |core| core.admission(id));
        found.await?
    };
    let found = context.unless_cancelled(settled).await;
    context.core().call(move |core| core.leave(id)).await?;
    found
}

/// Why nobody admitted this node in time. Members of a private channel say to a
/// stranger only that they do not let it in.
async fn not_admitted(context: &Context, id: ChannelId) -> Result<EngineError, EngineError> {
    let answered = move |core: &mut Core| core.answers(id);
    let answered = context.core().call(answered).await?;
    if answered == 0 {
        return Ok(no_peer(context, id, 0).await);
    }
    if context
        .core()
        .call(move |core| core.is_settling(id))
        .await?
    {
        return Ok(EngineError::new(
            ErrorKind::NoPeer,
            "the invitation is good, and nobody said in time that the channel has this node's word that it was used: join again by the same link",
        ));
    }
    Ok(EngineError::new(
        ErrorKind::Denied,
        format!(
            "{answered} of the channel's peers answered, and none admits this node: the invitation is used up, was taken back or is of another channel; ask for a new one"
        ),
    ))
}

pub(super) async fn members(context: &Context, name: &str) -> Result<(), EngineError> {
    let name = name.to_owned();
    let rows = context
        .core()
        .call(move |core| {
            let id = resolve(core, &name)?;
            let me = core.me;
            let channel = &core.channels[&id];
            let now = WallMs(wall_ms());
            let rows = channel.graph.members(now);
            let lease = |m: &samara_graph::MemberView| channel.presence.of(&m.peer, now);
            let row = |m: samara_graph::MemberView| Event::Member {
                present_since: lease(&m).map(|l| rfc3339::format(l.since.0)),
                present_until: lease(&m).map(|l| rfc3339::format(l.until.0)),
                channel: id.to_string(),
                peer_id: m.peer.to_string(),
                role: m.role.map(|role| role.label().to_owned()),
                since: rfc3339::format(m.since.0),
                until: (m.until.0 < samara_graph::limits::MAX_TIME_MS)
                    .then(|| rfc3339::format(m.until.0)),
                by: m.by.map(|by| by.to_string()),
                invitation: m.invite.map(|invite| invite.to_string()),
                revoked: m.revoked,
                left: m.left,
                this_node: m.peer == me,
                synchronized: channel.meta.synchronized,
            };
            Ok::<_, EngineError>(rows.into_iter().map(row).collect::<Vec<_>>())
        })
        .await??;
    for row in rows {
        context.emit(row).await;
    }
    Ok(())
}

pub(super) async fn revoke(
    context: &Context,
    name: &str,
    peer: &str,
    keep: Keep,
) -> Result<(), EngineError> {
    let (name, peer) = (name.to_owned(), peer.to_owned());
    let (id, peer, record, theirs, keeping) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &name)?;
            let peer = member(core, id, &peer)?;
            let key = core.key.clone();
            let graph = &core.channels[&id].graph;
            let theirs = graph.revoked_by(&peer);
            let (keeping, record) = core.with_graph(id, |graph, now, out| {
                let keeping = graph.keeping(&peer, keep)?;
                Ok((keeping, graph.revoke(now, &key, peer, keep, out)?))
            })?;
            Ok::<_, EngineError>((id, peer, record.id(), theirs, keeping))
        })
        .await??;
    durable(context).await?;
    warn_of_falling(context, &keeping).await;
    if keeping.has_gaps {
        let message = "it revoked more than one record can list, and all of that is kept by its number: whoever has its key can still add revocations dated back; `--erase --pardon` keeps none of them".to_owned();
        context.emit(Event::Warning { message }).await;
    }
    let freed = |alone: bool| keep == Keep::Nothing && alone;
    let named = |free: bool| {
        let told = matches!(keep, Keep::Nothing | Keep::Revocations);
        let some = theirs.iter().filter(|(_, alone)| freed(**alone) == free);
        some.filter(|_| told)
            .map(|(peer, _)| peer.to_string())
            .collect()
    };
    context
        .emit(Event::Revoked {
            channel: id.to_string(),
            peer_id: peer.to_string(),
            record: record.to_string(),
            still_revoked: named(false),
            pardoned: named(true),
        })
        .await;
    Ok(())
}

async fn warn_of_falling(context: &Context, keeping: &Keeping) {
    if keeping.falling == 0 {
        return;
    }
    let message = format!(
        "{} of its records are taken back: of so many only the newest can be listed as what stays",
        keeping.falling
    );
    context.emit(Event::Warning { message }).await;
}

/// What stays of the records of whoever is revoked.
pub(super) fn keep(erase: bool, pardon: bool) -> Result<Keep, EngineError> {
    match (erase, pardon) {
        (true, true) => Ok(Keep::Nothing),
        (true, false) => Ok(Keep::Revocations),
        (false, false) => Ok(Keep::Known),
        (false, true) => Err(EngineError::new(
            ErrorKind::Usage,
            "`pardon` goes with `erase`: without it everything stays",
        )),
    }
}

/// Takes an invitation back, and the rights of everybody who came by it.
pub(super) async fn revoke_invitation(
    context: &Context,
    name: &str,
    invite: &str,
    keep: Keep,
) -> Result<(), EngineError> {
    let (name, text) = (name.to_owned(), invite.to_owned());
    let (id, invite, (revoked, outranking)) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &name)?;
            let invite = invitation(core, id, &text)?;
            let key = core.key.clone();
            let done = core.with_graph(id, |graph, now, out| {
                graph.revoke_invitation(now, &key, invite, keep, out)
            })?;
            Ok::<_, EngineError>((id, invite, done))
        })
        .await??;
    durable(context).await?;
    let texts = |peers: Vec<PeerId>| peers.iter().map(ToString::to_string).collect();
    context
        .emit(Event::InvitationRevoked {
            channel: id.to_string(),
            invitation: invite.to_string(),
            revoked: texts(revoked),
            outranking: texts(outranking),
        })
        .await;
    Ok(())
}

pub(super) async fn set_role(
    context: &Context,
    name: &str,
    peer: &str,
    role: &str,
    expires_ms: Option<u64>,
) -> Result<(), EngineError> {
    let role = rank(role)?;
    let lifetime = expires_ms.map_or(ROLE_LIFETIME, Duration::from_millis);
    let (name, peer) = (name.to_owned(), peer.to_owned());
    let (id, peer, lowering, stays) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &name)?;
            // Also somebody who is no member yet: a publisher's second machine.
            let peer = match peer.parse::<PeerId>() {
                Ok(peer) => peer,
                Err(_) => member(core, id, &peer)?,
            };
            if core.channels[&id].graph.is_revoked(&peer) {
                return Err(EngineError::new(
                    ErrorKind::Denied,
                    "that identity was revoked, which lasts as long as the channel: give the role to a new one",
                ));
            }
            if peer == core.me {
                return Err(EngineError::new(
                    ErrorKind::Usage,
                    "nobody gives a role to itself: another owner or admin can, and `samara leave` gives back what one has",
                ));
            }
            let key = core.key.clone();
            let new = NewGrant {
                subject: peer,
                role,
                until: WallMs(wall_ms()).after(lifetime),
                kinds: BTreeSet::new(),
                renewable: expires_ms.is_none(),
                replaces: true,
            };
            let (lowering, stays) = core.with_graph(id, |graph, now, out| {
                let lowering = graph.lowering(now, &key.peer_id(), &new)?;
                let stays = graph.beside(now, &key.peer_id(), &new);
                graph.grant(now, &key, new, out)?;
                Ok((lowering, stays))
            })?;
            Ok::<_, EngineError>((id, peer, lowering, stays))
        })
        .await??;
    durable(context).await?;
    if let Some(lowering) = lowering {
        warn_of_falling(context, &lowering.keeping).await;
    }
    if let Some((own, by)) = &stays {
        let message = match by {
            None => {
                let list = match own {
                    Rank::Admin | Rank::Publisher => own.label(),
                    _ => "root",
                };
                format!(
                    "{peer} stays {own}, as the charter says: `samara channel edit --remove-{list}` takes that away"
                )
            }
            Some(by) => format!(
                "what {by} gave {peer}, {own}, stays: {by} ranks above this node, and can take it away itself, as an owner can; what a former owner gave falls with a charter that disowns it"
            ),
        };
        context.emit(Event::Warning { message }).await;
    }
    context
        .emit(Event::RoleGiven {
            channel: id.to_string(),
            peer_id: peer.to_string(),
            role: role.label().to_owned(),
        })
        .await;
    Ok(())
}

/// Gives back what this node was given in a channel, tells a member, and forgets the
/// channel. What was installed stays.
pub(super) async fn leave(context: &Context, name: &str) -> Result<(), EngineError> {
    let name = name.to_owned();
    let (id, begun) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &name)?;
            if core.channels[&id].meta.role == Role::Owner {
                return Err(EngineError::new(
                    ErrorKind::Denied,
                    "this node owns the channel; `samara forget` drops it for good",
                ));
            }
            let begun = core.begin_leaving(id);
            if begun.is_ok() {
                core.visit(id);
            }
            Ok((id, begun))
        })
        .await??;
    let told = match begun {
        Ok(()) => Some(told(context, id).await?),
        Err(GraphError::NothingToLeave(_) | GraphError::NoCharter) => None,
        Err(error) => {
            let message = format!("the members cannot be told: {error}");
            context.emit(Event::Warning { message }).await;
            Some(false)
        }
    };
    context
        .core()
        .call(move |core| core.drop_channel(id, true))
        .await?;
    durable(context).await?;
    context
        .emit(Event::Left {
            channel: id.to_string(),
            told,
        })
        .await;
    Ok(())
}

/// Whether a member learns in time that this node leaves.
async fn told(context: &Context, id: ChannelId) -> Result<bool, EngineError> {
    let heard = context
        .core()
        .wait_for(move |core| core.has_left(id).then_some(()));
    context.emit_lossy(Event::Waiting {
        what: "a member that takes leave".into(),
    });
    let limit = context.timeout();
    let heard = tokio::select! {
        heard = tokio::time::timeout(limit, heard) => heard.is_ok(),
        // It was said, and cannot be taken back.
        () = context.cancel.cancelled() => false,
    };
    context.core().call(move |core| core.leave(id)).await?;
    Ok(heard)
}

/// Who is meant: a whole PeerId, or the beginning of a member's.
pub(super) fn member(core: &Core, id: ChannelId, text: &str) -> Result<PeerId, EngineError> {
    if let Ok(peer) = text.parse::<PeerId>() {
        return Ok(peer);
    }
    let all = core.channels[&id].graph.members(WallMs(wall_ms()));
    let mut found = all.iter().filter(|m| m.peer.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) if text.len() >= 4 => Ok(one.peer),
        (Some(_), Some(_)) if text.len() >= 4 => Err(EngineError::new(
            ErrorKind::Usage,
            format!("\"{text}\" means several members; write more of the id"),
        )),
        _ => Err(EngineError::new(
            ErrorKind::NotFound,
            format!("no member's id begins with \"{text}\"; `samara members` lists them"),
        )),
    }
}

/// Which invitation is meant: the id of an invite record that is here, or its beginning.
fn invitation(core: &Core, id: ChannelId, text: &str) -> Result<RecordId, EngineError> {
    let records = core.channels[&id].graph.records();
    let invites = records.filter(|h| h.kind == Kind::INVITE);
    let mut found = invites.filter(|h| h.id.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) if text.len() >= 4 => Ok(one.id),
        (Some(_), Some(_)) if text.len() >= 4 => Err(EngineError::new(
            ErrorKind::Usage,
            format!("\"{text}\" means several invitations; write more of the id"),
        )),
        _ => Err(EngineError::new(
            ErrorKind::NotFound,
            format!(
                "no invitation's id begins with \"{text}\"; `samara members` says who came by which"
            ),
        )),
    }
}

fn rank(text: &str) -> Result<Rank, EngineError> {
    text.parse()
        .map_err(|e: samara_graph::UnknownRole| EngineError::new(ErrorKind::Usage, e.to_string()))
}

/// What was written to the index is there when the command ends.
pub(super) async fn durable(context: &Context) -> Result<(), EngineError> {
    context
        .blocking(|store| Ok(store.write(Batch::new())?))
        .await
}

impl Core {
    /// Takes back that a channel was to be joined: forgets it if it was not here before.
    fn undo(&mut self, id: ChannelId, earlier: Option<ChannelMeta>) {
        match earlier {
            None => self.drop_channel(id, true),
            Some(meta) => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.meta = meta.clone();
                }
                self.remember_meta(id, &meta);
            }
        }
    }

    /// The channel's name and this node's role in it, or why it gets none; nothing as
    /// long as that is open.
    fn admission(&self, id: ChannelId) -> Option<Result<(String, String), EngineError>> {
        let denied = |message: String| Some(Err(EngineError::new(ErrorKind::Denied, message)));
        let now = WallMs(wall_ms());
        let Some(channel) = self.channels.get(&id) else {
            let message = "the channel was dropped";
            return Some(Err(EngineError::new(ErrorKind::NotFound, message)));
        };
        if channel.graph.is_revoked(&self.me) {
            return denied("this identity was revoked in the channel".to_owned());
        }
        if let Some(role) = channel.graph.role_of(&self.me, now) {
            let name = channel.name().unwrap_or_default();
            return Some(Ok((name, role.label().to_owned())));
        }
        let objection = channel.objection(now)?;
        denied(format!(
            "the invitation does not admit: {objection}; ask for a new one"
        ))
    }

    /// Whether this node has a role in an open channel by a redemption that nobody else
    /// is known to hold.
    fn is_settling(&self, id: ChannelId) -> bool {
        self.is_taken(id) == Some(false)
    }

    /// Whether it has one by a redemption at all.
    fn is_redeemed(&self, id: ChannelId) -> bool {
        self.is_taken(id).is_some()
    }

    fn is_taken(&self, id: ChannelId) -> Option<bool> {
        let channel = self.channels.get(&id).filter(|c| c.is_open());
        channel.and_then(|channel| channel.is_taken())
    }

    /// How many peers were asked to let this node into a channel and said anything.
    fn answers(&self, id: ChannelId) -> usize {
        let Some(channel) = self.channels.get(&id) else {
            return 0;
        };
        let refused = channel.known.values().filter(|k| k.said_no).count();
        refused + channel.members.len()
    }

    /// Keeps the roles that this node gave from ending, and ends its invitations that are
    /// used up.
    pub(crate) fn renew_roles(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let now = WallMs(wall_ms());
        let used = channel.graph.used_up(now, &self.me);
        for draft in channel.graph.renewals(now, &self.me) {
            if let Err(error) = self.publish(id, draft, None) {
                tracing::warn!(channel = %id.short(), %error, "a role was not renewed");
            }
        }
        let key = self.key.clone();
        for invite in used {
            let ended = self.with_graph(id, |graph, now, out| {
                graph.end_invitation(now, &key, invite, out)
            });
            if let Err(error) = ended {
                tracing::warn!(channel = %id.short(), %error, "an invitation that is used up was not ended");
            }
        }
    }
}
