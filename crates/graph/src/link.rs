use std::{fmt, net::SocketAddr, str::FromStr};

use samara_wire::{ChannelId, PeerId, Reader, RecordId, WireError, Writer, base32};
use thiserror::Error;

use crate::{
    CharterRef, SecretKey, WallMs,
    address::{dialable, plain, read_addrs, write_addrs},
    limits,
};

const SCHEME: &str = "samara:";
const VERSION: u8 = 1;
/// An invitation follows the charter.
const INVITED: u8 = 1;
/// The channel's members prove themselves before they say anything.
const PRIVATE: u8 = 2;
const CHECKSUM_BYTES: usize = 4;
const CHECKSUM_CONTEXT: &str = "samara link checksum v1";

/// The way into a channel, as text: `samara:` and one lowercase base32 token, with
/// nothing in it that a shell, a mail client or a browser could break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    channel: ChannelId,
    charter: CharterRef,
    private: bool,
    invitation: Option<Invitation>,
    peers: Vec<LinkPeer>,
}

/// What a link admits its bearer by: a one-time key, never a secret of the channel.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The one-time key; its public half stands in the invite record.
    pub key: SecretKey,
    /// The invite record.
    pub invite: RecordId,
    /// Until when it may be redeemed.
    pub until: WallMs,
    /// When that record expires, and the redemption with it.
    pub expires: WallMs,
}

impl PartialEq for Invitation {
    fn eq(&self, other: &Self) -> bool {
        let of = |i: &Self| (i.key.peer_id(), i.invite, i.until, i.expires);
        of(self) == of(other)
    }
}

impl Eq for Invitation {}

/// A peer that is known to be in the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPeer {
    /// Who.
    pub peer: PeerId,
    /// Where it was last; at most [`limits::MAX_ADDRESSES`].
    pub addrs: Vec<SocketAddr>,
}

impl Link {
    /// A link with as many of `peers` and their addresses, in the order given, as
    /// fit into [`limits::MAX_LINK_CHARS`].
    ///
    /// A peer's first address comes before any peer's second, since one way to many
    /// is worth more than many to one.
    pub fn new(channel: ChannelId, charter: CharterRef, peers: &[LinkPeer]) -> Self {
        Self::with(channel, charter, false, None, peers)
    }

    /// The same for a private channel, or with an invitation.
    pub fn with(
        channel: ChannelId,
        charter: CharterRef,
        private: bool,
        invitation: Option<Invitation>,
        peers: &[LinkPeer],
    ) -> Self {
        let mut link = Self {
            channel,
            charter,
            private,
            invitation,
            peers: Vec::new(),
        };
        let mut wanted: Vec<(PeerId, Vec<SocketAddr>)> = Vec::new();
        for p in peers {
            if wanted.iter().all(|(known, _)| *known != p.peer) {
                let mut addrs: Vec<_> = p.addrs.iter().map(plain).filter(dialable).collect();
                let mut seen = Vec::new();
                addrs.retain(|a| {
                    !seen.contains(a) && {
                        seen.push(*a);
                        true
                    }
                });
                addrs.truncate(limits::MAX_ADDRESSES);
                wanted.push((p.peer, addrs));
            }
        }
        wanted.truncate(limits::MAX_LINK_PEERS);
        for nth in 0..limits::MAX_ADDRESSES {
            for (peer, addrs) in &wanted {
                let at = link.peers.iter().position(|p| p.peer == *peer);
                if nth > 0 && (at.is_none() || addrs.len() <= nth) {
                    continue;
                }
                let before = link.peers.clone();
                match at {
                    Some(at) => link.peers[at].addrs.push(addrs[nth]),
                    None => link.peers.push(LinkPeer {
                        peer: *peer,
                        addrs: addrs.first().copied().into_iter().collect(),
                    }),
                }
                if link.to_string().len() > limits::MAX_LINK_CHARS {
                    link.peers = before;
                }
            }
        }
        link
    }

    /// The channel.
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// The newest charter that the link's maker knew.
    pub fn charter(&self) -> CharterRef {
        self.charter
    }

    /// Whether the channel's members prove themselves before they say anything.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// What admits the bearer, if it is more than a way to the channel.
    pub fn invitation(&self) -> Option<&Invitation> {
        self.invitation.as_ref()
    }

    /// Whom to ask.
    pub fn peers(&self) -> &[LinkPeer] {
        &self.peers
    }

    fn payload(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        let invited = self.invitation.as_ref().map_or(0, |_| INVITED);
        w.u8(invited | if self.private { PRIVATE } else { 0 });
        self.channel.write(&mut w);
        self.charter.write(&mut w);
        if let Some(invitation) = &self.invitation {
            w.raw(&invitation.key.to_bytes());
            invitation.invite.write(&mut w);
            w.varint(invitation.until.0);
            w.varint(invitation.expires.0);
        }
        w.varint(self.peers.len() as u64);
        for p in &self.peers {
            p.peer.write(&mut w);
            write_addrs(&mut w, &p.addrs);
        }
        w.finish()
    }

    fn read(flags: u8, r: &mut Reader<'_>) -> Result<Self, WireError> {
        let channel = ChannelId::read(r)?;
        let charter = CharterRef::read(r)?;
        let invitation = match flags & INVITED {
            0 => None,
            _ => Some(Invitation {
                key: SecretKey::from_bytes(&r.array("one-time key")?),
                invite: RecordId::read(r)?,
                until: WallMs(r.varint("until", limits::MAX_TIME_MS)?),
                expires: WallMs(r.varint("expires", limits::MAX_TIME_MS)?),
            }),
        };
        let n = r.count("link peers", limits::MAX_LINK_PEERS, 33)?;
        let mut peers: Vec<LinkPeer> = Vec::with_capacity(n);
        for _ in 0..n {
            let peer = PeerId::read(r)?;
            if peers.iter().any(|p| p.peer == peer) {
                return Err(WireError::NonCanonical {
                    field: "link peers",
                });
            }
            let addrs = read_addrs(r)?;
            peers.push(LinkPeer { peer, addrs });
        }
        Ok(Self {
            channel,
            charter,
            private: flags & PRIVATE != 0,
            invitation,
            peers,
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.payload();
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        write!(f, "{SCHEME}{}", base32().encode(&bytes))
    }
}

impl FromStr for Link {
    type Err = LinkError;

    /// Reads a link; white space around it is no part of it, nor is its case: a QR
    /// code has it in capitals, and schemes are not to be told apart by case (RFC 3986
    /// section 3.1).
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        let (_, token) = text
            .split_at_checked(SCHEME.len())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
            .ok_or(LinkError::NotALink)?;
        if token.len() + SCHEME.len() > limits::MAX_LINK_CHARS {
            return Err(LinkError::Damaged);
        }
        let bytes = base32()
            .decode(token.to_ascii_lowercase().as_bytes())
            .map_err(|_| LinkError::Damaged)?;
        let (payload, sum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(LinkError::Damaged)?;
        // The checksum covers the version, and is the same in all of them: so a
        // damaged link is told from one of a newer Samara.
        if checksum(payload) != *sum {
            return Err(LinkError::Damaged);
        }
        let mut r = Reader::new(payload);
        let flags = match (r.u8("link version")?, r.u8("link flags")?) {
            (VERSION, flags) if flags & !(INVITED | PRIVATE) == 0 => flags,
            (VERSION, flags) => return Err(LinkError::UnknownFlags(flags)),
            (version, _) => return Err(LinkError::UnknownVersion(version)),
        };
        let link = Self::read(flags, &mut r)?;
        r.finish()?;
        Ok(link)
    }
}

/// Why a text is not a link that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// It does not start with `samara:`.
    #[error("this is not a Samara link: those start with \"{SCHEME}\"")]
    NotALink,
    /// Its checksum, its characters or its length are wrong.
    #[error("the link is damaged or incomplete; copy it again, all of it")]
    Damaged,
    /// A newer Samara made it.
    #[error(
        "the link is of version {0}, this Samara knows version {VERSION}; a newer Samara can open it"
    )]
    UnknownVersion(u8),
    /// A newer Samara made it, with something in it that must not be ignored.
    #[error(
        "the link needs something that this Samara does not know (flags {0:#04x}); a newer one can open it"
    )]
    UnknownFlags(u8),
    /// Whole, but wrongly made.
    #[error("the link is whole, but wrongly made: {0}")]
    Malformed(#[from] WireError),
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::derive_key(CHECKSUM_CONTEXT, payload);
    *hash.first_chunk().expect("a hash is longer")
}
