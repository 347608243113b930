use bytes::Bytes;
use samara_wire::{Reader, RecordId, WireError, Writer};

use crate::{CharterRef, PeerAddress, limits};

/// What a node holds, in 24 bytes: equal summaries are equal sets (but for a
/// collision that only publishers could search for, and that costs them nothing
/// but their own records).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Number of records that have not expired.
    pub count: u32,
    /// BLAKE3 over the sum of their ids, the first 16 bytes.
    pub fingerprint: [u8; 16],
}

/// What two graphs of the same channel say to each other. The node says which
/// channel, on the frame around it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// First on every new neighbour, from both sides.
    Hello {
        /// The newest charter that the sender has, if any.
        charter: Option<CharterRef>,
        /// Where the sender can be reached.
        address: Option<PeerAddress>,
        /// What it holds.
        summary: Summary,
    },
    /// Asks for the charters after this version; 0 for all.
    CharterRequest {
        /// The newest that the asker has.
        after: u32,
    },
    /// Signed charters, consecutive, oldest first.
    Charters(Vec<Bytes>),
    /// A record: a new one, or one that was asked for.
    Record(Bytes),
    /// The sender holds these; who lacks one may ask.
    Have(Vec<RecordId>),
    /// Asks for these.
    Request(Vec<RecordId>),
    /// The answer to a request for what the sender does not hold (any more).
    Gone(Vec<RecordId>),
    /// What the sender holds; every 45 s.
    Summary(Summary),
    /// A step of range-based set reconciliation (*negentropy*, version 1),
    /// from the side that started it.
    Reconcile {
        /// Which reconciliation of the starter; an answer bears it too.
        session: u32,
        /// The protocol's bytes.
        bytes: Bytes,
    },
    /// The answer of the other side.
    Reconciled {
        /// The session that is answered.
        session: u32,
        /// The protocol's bytes.
        bytes: Bytes,
    },
    /// Peers of the channel that the sender knows.
    Peers(Vec<PeerAddress>),
    /// The sender has no neighbour yet: it asks for a place, and to be told of.
    Join,
    /// A newcomer on its way through the overlay (HyParView's FORWARDJOIN).
    JoinWalk {
        /// Steps left, at most [`limits::WALK_STEPS`].
        ttl: u8,
        /// The newcomer.
        address: PeerAddress,
    },
    /// The sender counts the receiver among its active neighbours, and asks for the same.
    Neighbour {
        /// It has no other: the receiver should make room.
        urgent: bool,
    },
    /// The receiver is no active neighbour of the sender's (any more).
    Disconnect,
    /// Peers to exchange with whoever the walk ends at.
    Shuffle {
        /// The sender's number of the walk; the answer bears it.
        walk: u32,
        /// Steps left, at most [`limits::WALK_STEPS`].
        ttl: u8,
        /// Peers that who began it knows.
        peers: Vec<PeerAddress>,
    },
    /// The peers given in return, back along the walk.
    Shuffled {
        /// The receiver's number of the walk.
        walk: u32,
        /// Peers that who ended it knows.
        peers: Vec<PeerAddress>,
    },
    /// The sender holds these, and expects that the receiver gets them from another.
    IHave(Vec<RecordId>),
    /// Asks for these, which did not come from another, and for whole new records
    /// from now on.
    Graft(Vec<RecordId>),
    /// Asks for ids in the place of whole new records.
    Prune,
}

impl Message {
    /// The bytes of a message, at most [`limits::MAX_MESSAGE_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(64);
        match self {
            Self::Hello {
                charter,
                address,
                summary,
            } => {
                w.u8(0);
                w.bool(charter.is_some());
                if let Some(charter) = charter {
                    charter.write(&mut w);
                }
                w.bool(address.is_some());
                if let Some(address) = address {
                    address.write(&mut w);
                }
                summary.write(&mut w);
            }
            Self::CharterRequest { after } => {
                w.u8(1);
                w.varint((*after).into());
            }
            Self::Charters(list) => {
                w.u8(2);
                w.varint(list.len() as u64);
                list.iter().for_each(|c| w.bytes(c));
            }
            Self::Record(bytes) => {
                w.u8(3);
                w.raw(bytes);
            }
            Self::Have(ids) => write_ids(&mut w, 4, ids),
            Self::Request(ids) => write_ids(&mut w, 5, ids),
            Self::Gone(ids) => write_ids(&mut w, 6, ids),
            Self::Summary(summary) => {
                w.u8(7);
                summary.write(&mut w);
            }
            Self::Reconcile { session, bytes } => {
                w.u8(8);
                w.u32(*session);
                w.raw(bytes);
            }
            Self::Reconciled { session, bytes } => {
                w.u8(9);
                w.u32(*session);
                w.raw(bytes);
            }
            Self::Peers(list) => {
                w.u8(10);
                write_peers(&mut w, list);
            }
            Self::Join => w.u8(11),
            Self::JoinWalk { ttl, address } => {
                w.u8(12);
                w.u8(*ttl);
                address.write(&mut w);
            }
            Self::Neighbour { urgent } => {
                w.u8(13);
                w.bool(*urgent);
            }
            Self::Disconnect => w.u8(14),
            Self::Shuffle { walk, ttl, peers } => {
                w.u8(15);
                w.u32(*walk);
                w.u8(*ttl);
                write_peers(&mut w, peers);
            }
            Self::Shuffled { walk, peers } => {
                w.u8(16);
                w.u32(*walk);
                write_peers(&mut w, peers);
            }
            Self::IHave(ids) => write_ids(&mut w, 17, ids),
            Self::Graft(ids) => write_ids(&mut w, 18, ids),
            Self::Prune => w.u8(19),
        }
        w.finish()
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    ///
    /// Signatures inside are not verified yet: the graph does that, after its rate
    /// limits.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        bounded("message", bytes.len(), limits::MAX_MESSAGE_BYTES)?;
        let mut r = Reader::new(bytes);
        let message = match r.u8("message")? {
            0 => Self::Hello {
                charter: match r.bool("charter")? {
                    true => Some(CharterRef::read(&mut r)?),
                    false => None,
                },
                address: match r.bool("address")? {
                    true => Some(PeerAddress::read(&mut r)?),
                    false => None,
                },
                summary: Summary::read(&mut r)?,
            },
            1 => Self::CharterRequest {
                after: r.varint32("after", limits::MAX_CHARTER_VERSIONS as u32)?,
            },
            2 => {
                let n = r.count("charters", limits::MAX_CHARTER_VERSIONS, 96)?;
                let mut list = Vec::with_capacity(n);
                for _ in 0..n {
                    list.push(bytes.slice_ref(r.bytes("charter", limits::MAX_CHARTER_BYTES)?));
                }
                Self::Charters(list)
            }
            3 => {
                bounded("record", r.remaining(), limits::MAX_RECORD_BYTES)?;
                Self::Record(bytes.slice_ref(r.rest()))
            }
            4 => Self::Have(read_ids(&mut r)?),
            5 => Self::Request(read_ids(&mut r)?),
            6 => Self::Gone(read_ids(&mut r)?),
            7 => Self::Summary(Summary::read(&mut r)?),
            tag @ (8 | 9) => {
                let session = r.u32("session")?;
                bounded("reconciliation", r.remaining(), limits::MAX_RECONCILE_BYTES)?;
                let bytes = bytes.slice_ref(r.rest());
                match tag {
                    8 => Self::Reconcile { session, bytes },
                    _ => Self::Reconciled { session, bytes },
                }
            }
            10 => Self::Peers(read_peers(&mut r)?),
            11 => Self::Join,
            12 => Self::JoinWalk {
                ttl: read_ttl(&mut r)?,
                address: PeerAddress::read(&mut r)?,
            },
            13 => Self::Neighbour {
                urgent: r.bool("urgent")?,
            },
            14 => Self::Disconnect,
            15 => Self::Shuffle {
                walk: r.u32("walk")?,
                ttl: read_ttl(&mut r)?,
                peers: read_peers(&mut r)?,
            },
            16 => Self::Shuffled {
                walk: r.u32("walk")?,
                peers: read_peers(&mut r)?,
            },
            17 => Self::IHave(read_ids(&mut r)?),
            18 => Self::Graft(read_ids(&mut r)?),
            19 => Self::Prune,
            _ => return Err(WireError::Invalid { field: "message" }),
        };
        r.finish()?;
        Ok(message)
    }
}

impl Summary {
    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            count: r.u32("count")?,
            fingerprint: r.array("fingerprint")?,
        })
    }

    fn write(&self, w: &mut Writer) {
        w.u32(self.count);
        w.raw(&self.fingerprint);
    }
}

fn write_peers(w: &mut Writer, list: &[PeerAddress]) {
    w.varint(list.len() as u64);
    list.iter().for_each(|p| p.write(w));
}

fn read_peers(r: &mut Reader<'_>) -> Result<Vec<PeerAddress>, WireError> {
    let n = r.count("peers", limits::MAX_PEERS_IN_MESSAGE, 98)?;
    (0..n).map(|_| PeerAddress::read(r)).collect()
}

fn read_ttl(r: &mut Reader<'_>) -> Result<u8, WireError> {
    let ttl = r.u8("steps")?;
    bounded("steps", ttl.into(), limits::WALK_STEPS.into())?;
    Ok(ttl)
}

fn write_ids(w: &mut Writer, tag: u8, ids: &[RecordId]) {
    w.u8(tag);
    w.varint(ids.len() as u64);
    ids.iter().for_each(|id| id.write(w));
}

fn read_ids(r: &mut Reader<'_>) -> Result<Vec<RecordId>, WireError> {
    let n = r.count("ids", limits::MAX_IDS, 32)?;
    (0..n).map(|_| RecordId::read(r)).collect()
}

fn bounded(field: &'static str, len: usize, max: usize) -> Result<(), WireError> {
    match len <= max {
        true => Ok(()),
        false => Err(WireError::TooLarge {
            field,
            got: len as u64,
            max: max as u64,
        }),
    }
}
