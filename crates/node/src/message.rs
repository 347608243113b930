//! What nodes say to each other beneath graph and swarm: which frames carry
//! which room's messages, under which handle a content is spoken of, and the
//! requests for manifest pages and chunks. Byte layouts are in docs/protocol.md.

use bytes::Bytes;
use samara_wire::{ChannelId, ContentId, Frame, Reader, WireError, Writer, encode_frame};

use crate::limits;

/// Frame kinds on the control stream. Unknown kinds are skipped, so that a later
/// version may say more.
mod kind {
    pub(super) const GRAPH: u64 = 1;
    pub(super) const NO_CHANNEL: u64 = 2;
    pub(super) const OPEN: u64 = 3;
    pub(super) const CLOSE: u64 = 4;
    pub(super) const SWARM: u64 = 5;
    pub(super) const INTRODUCE: u64 = 6;
    pub(super) const PROVE: u64 = 7;
    pub(super) const PROVED: u64 = 8;
    pub(super) const REFUSED: u64 = 9;
}

/// Request kinds, first on a bidirectional stream.
mod ask {
    pub(super) const PAGES: u64 = 1;
    pub(super) const CHUNKS: u64 = 2;
    pub(super) const WORDS: u64 = 3;
}

/// A name, chosen by whoever says it, for (channel, content) on one connection.
pub(crate) type Handle = u32;

/// One frame of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// First on every control stream: the sender's site label, if it has one.
    Introduce { site: Option<String> },
    /// A message of the graph of a channel.
    Graph { channel: ChannelId, body: Bytes },
    /// The sender holds no such channel, or does not show it to this peer.
    NoChannel { channel: ChannelId },
    /// The sender shows that it belongs to a private channel, and asks for the same.
    /// The tag stands for the channel; see `samara_graph::Gate`.
    Prove { tag: [u8; 32], sealed: Bytes },
    /// The same in answer to a good proof.
    Proved { tag: [u8; 32], sealed: Bytes },
    /// There is no such channel, or nobody with that proof is let into it.
    Refused { tag: [u8; 32] },
    /// The sender takes part in a content's swarm and calls it `handle` from now on.
    Open {
        handle: Handle,
        channel: ChannelId,
        content: ContentId,
    },
    /// The sender left the swarm that it called `handle`.
    Close { handle: Handle },
    /// A message of the swarm that the sender called `handle`.
    Swarm { handle: Handle, body: Bytes },
}

impl Control {
    pub(crate) fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        let kind = match self {
            Self::Introduce { site } => {
                w.bool(site.is_some());
                if let Some(site) = site {
                    w.str(site);
                }
                kind::INTRODUCE
            }
            Self::Graph { channel, body } => {
                channel.write(&mut w);
                w.raw(body);
                kind::GRAPH
            }
            Self::NoChannel { channel } => {
                channel.write(&mut w);
                kind::NO_CHANNEL
            }
            Self::Prove { tag, sealed } => {
                w.raw(tag);
                w.raw(sealed);
                kind::PROVE
            }
            Self::Proved { tag, sealed } => {
                w.raw(tag);
                w.raw(sealed);
                kind::PROVED
            }
            Self::Refused { tag } => {
                w.raw(tag);
                kind::REFUSED
            }
            Self::Open {
                handle,
                channel,
                content,
            } => {
                w.varint(u64::from(*handle));
                channel.write(&mut w);
                content.write(&mut w);
                kind::OPEN
            }
            Self::Close { handle } => {
                w.varint(u64::from(*handle));
                kind::CLOSE
            }
            Self::Swarm { handle, body } => {
                w.varint(u64::from(*handle));
                w.raw(body);
                kind::SWARM
            }
        };
        encode_frame(kind, &w.finish())
    }

    /// `None` for a kind of a later version.
    pub(crate) fn decode(frame: &Frame) -> Result<Option<Self>, WireError> {
        let mut r = Reader::new(&frame.body);
        let rest = |r: &mut Reader<'_>| frame.body.slice(frame.body.len() - r.remaining()..);
        let handle = |r: &mut Reader<'_>| r.varint32("handle", Handle::MAX);
        Ok(Some(match frame.kind {
            kind::INTRODUCE => {
                let site = match r.bool("site")? {
                    true => Some(r.str("site", limits::MAX_SITE_LABEL)?.to_owned()),
                    false => None,
                };
                r.finish()?;
                Self::Introduce { site }
            }
            kind::GRAPH => {
                let channel = ChannelId::read(&mut r)?;
                // Before it waits in the core's line.
                if r.remaining() > samara_graph::limits::MAX_MESSAGE_BYTES {
                    return Err(WireError::TooLarge {
                        field: "graph message",
                        got: r.remaining() as u64,
                        max: samara_graph::limits::MAX_MESSAGE_BYTES as u64,
                    });
                }
                let body = rest(&mut r);
                Self::Graph { channel, body }
            }
            kind::NO_CHANNEL => {
                let channel = ChannelId::read(&mut r)?;
                r.finish()?;
                Self::NoChannel { channel }
            }
            tagged @ (kind::PROVE | kind::PROVED) => {
                let tag = r.array("tag")?;
                if r.remaining() > samara_graph::limits::MAX_SEALED_PROOF {
                    return Err(WireError::TooLarge {
                        field: "proof",
                        got: r.remaining() as u64,
                        max: samara_graph::limits::MAX_SEALED_PROOF as u64,
                    });
                }
                let sealed = rest(&mut r);
                match tagged {
                    kind::PROVE => Self::Prove { tag, sealed },
                    _ => Self::Proved { tag, sealed },
                }
            }
            kind::REFUSED => {
                let tag = r.array("tag")?;
                r.finish()?;
                Self::Refused { tag }
            }
            kind::OPEN => {
                let open = Self::Open {
                    handle: handle(&mut r)?,
                    channel: ChannelId::read(&mut r)?,
                    content: ContentId::read(&mut r)?,
                };
                r.finish()?;
                open
            }
            kind::CLOSE => {
                let handle = handle(&mut r)?;
                r.finish()?;
                Self::Close { handle }
            }
            kind::SWARM => Self::Swarm {
                handle: handle(&mut r)?,
                body: rest(&mut r),
            },
            _ => return Ok(None),
        }))
    }
}

/// What the opener of a bidirectional stream asks for. Every request names a
/// channel that both ends have proved to be members of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The manifest's root (page [`ROOT_PAGE`]) or pages, answered in order.
    Pages {
        channel: ChannelId,
        content: ContentId,
        pages: Vec<u32>,
    },
    /// Chunks, answered in order.
    Chunks {
        channel: ChannelId,
        content: ContentId,
        chunks: Vec<u32>,
    },
    /// Something for whoever listens in the channel there, answered by whether it was
    /// taken.
    Words { channel: ChannelId, body: Bytes },
}

/// The page number that stands for the manifest's root.
pub(crate) const ROOT_PAGE: u32 = u32::MAX;

impl Ask {
    pub(crate) fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        let (kind, channel, content, list) = match self {
            Self::Pages {
                channel,
                content,
                pages,
            } => (ask::PAGES, channel, content, pages),
            Self::Chunks {
                channel,
                content,
                chunks,
            } => (ask::CHUNKS, channel, content, chunks),
            Self::Words { channel, body } => {
                channel.write(&mut w);
                w.raw(body);
                return encode_frame(ask::WORDS, &w.finish());
            }
        };
        channel.write(&mut w);
        content.write(&mut w);
        w.varint(list.len() as u64);
        for item in list {
            w.varint(u64::from(*item));
        }
        encode_frame(kind, &w.finish())
    }

    pub(crate) fn decode(frame: &Frame) -> Result<Self, WireError> {
        let mut r = Reader::new(&frame.body);
        let channel = ChannelId::read(&mut r)?;
        if frame.kind == ask::WORDS {
            let body = frame.body.slice(frame.body.len() - r.remaining()..);
            return match body.len() {
                1..=limits::MAX_WORDS => Ok(Self::Words { channel, body }),
                _ => Err(WireError::Invalid { field: "words" }),
            };
        }
        let content = ContentId::read(&mut r)?;
        let max = match frame.kind {
            ask::PAGES => limits::MAX_REQUEST_PAGES,
            ask::CHUNKS => limits::MAX_REQUEST_CHUNKS,
            _ => {
                return Err(WireError::Invalid {
                    field: "request kind",
                });
            }
        };
        let n = r.count("request length", max, 1)?;
        if n == 0 {
            return Err(WireError::Invalid {
                field: "request length",
            });
        }
        let list = (0..n)
            .map(|_| r.varint32("request item", u32::MAX))
            .collect::<Result<Vec<_>, _>>()?;
        r.finish()?;
        Ok(match frame.kind {
            ask::PAGES => Self::Pages {
                channel,
                content,
                pages: list,
            },
            _ => Self::Chunks {
                channel,
                content,
                chunks: list,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samara_wire::FrameDecoder;

    fn frame(bytes: &[u8]) -> Frame {
        let mut d = FrameDecoder::new(limits::MAX_CONTROL_FRAME);
        d.push(bytes);
        d.next_frame().unwrap().unwrap()
    }

    fn asks(n: usize) -> Ask {
        Ask::Chunks {
            channel: ChannelId([1; 32]),
            content: ContentId([2; 32]),
            chunks: (0..n as u32).map(|i| i * 70_000).collect(),
        }
    }

    #[test]
    fn control_frames_come_back_as_they_were() {
        let (channel, content) = (ChannelId([1; 32]), ContentId([2; 32]));
        for control in [
            Control::Introduce { site: None },
            Control::Introduce {
                site: Some("hq".into()),
            },
            Control::Graph {
                channel,
                body: Bytes::from_static(b"abc"),
            },
            Control::NoChannel { channel },
            Control::Open {
                handle: 70_000,
                channel,
                content,
            },
            Control::Close { handle: 0 },
            Control::Swarm {
                handle: u32::MAX,
                body: Bytes::new(),
            },
        ] {
            let bytes = control.encode();
            assert_eq!(Control::decode(&frame(&bytes)), Ok(Some(control)));
        }
        assert_eq!(
            Control::decode(&frame(&encode_frame(99, b"later"))),
            Ok(None)
        );
    }

    #[test]
    fn graph_messages_are_bounded_on_both_sides() {
        let control = |len: usize| Control::Graph {
            channel: ChannelId([1; 32]),
            body: vec![0; len].into(),
        };
        let most = control(samara_graph::limits::MAX_MESSAGE_BYTES);
        assert_eq!(Control::decode(&frame(&most.encode())), Ok(Some(most)));
        let more = control(samara_graph::limits::MAX_MESSAGE_BYTES + 1);
        assert!(Control::decode(&frame(&more.encode())).is_err());
    }

    #[test]
    fn requests_are_bounded_on_both_sides() {
        let most = asks(limits::MAX_REQUEST_CHUNKS);
        let bytes = most.encode();
        assert!(bytes.len() <= limits::MAX_REQUEST);
        assert_eq!(Ask::decode(&frame(&bytes)), Ok(most));
        assert!(Ask::decode(&frame(&asks(limits::MAX_REQUEST_CHUNKS + 1).encode())).is_err());
        assert!(Ask::decode(&frame(&asks(0).encode())).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut body = ChannelId([1; 32]).as_bytes().to_vec();
        body.push(0);
        assert!(Control::decode(&frame(&encode_frame(2, &body))).is_err());
    }
}
