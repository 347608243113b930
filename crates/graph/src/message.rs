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
                w.varint(list.len() as u64);
                list.iter().for_each(|p| p.write(&mut w));
            }
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
            10 => {
                let n = r.count("peers", limits::MAX_PEERS_IN_MESSAGE, 98)?;
                let mut list = Vec::with_capacity(n);
                for _ in 0..n {
                    list.push(PeerAddress::read(&mut r)?);
                }
                Self::Peers(list)
            }
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
