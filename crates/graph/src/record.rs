use bytes::Bytes;
use samara_wire::{ChannelId, PeerId, Reader, RecordId, VARINT_MAX, WireError, Writer};
use thiserror::Error;

use crate::{
    Attributes, Control, Domain, Kind, SecretKey, Signature, WallMs, body, limits, verify,
};

const FORMAT: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

/// What goes into a record before its author signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The channel that it is for, and valid in.
    pub channel: ChannelId,
    /// What the body is.
    pub kind: Kind,
    /// Its place in its author's one sequence, from 1.
    pub seq: u64,
    /// When it was made.
    pub created: WallMs,
    /// When it ends; later than `created`.
    pub expires: WallMs,
    /// Higher ones are wanted first; 0 is usual.
    pub priority: u8,
    /// What it is about, for its kind; at most [`limits::MAX_KEY_BYTES`], may be empty.
    pub key: Bytes,
    /// What it can be searched by.
    pub attributes: Attributes,
    /// As its kind says.
    pub body: Bytes,
}

impl NewRecord {
    /// Signs it.
    ///
    /// # Errors
    /// [`RecordError`] if a field is outside its bounds or the whole exceeds
    /// [`limits::MAX_RECORD_BYTES`].
    pub fn sign(self, author: &SecretKey) -> Result<Record, RecordError> {
        let mut w = Writer::with_capacity(self.body.len() + 256);
        w.u8(FORMAT);
        self.channel.write(&mut w);
        author.peer_id().write(&mut w);
        w.varint(self.kind.0.into());
        for (field, value, max) in [
            ("sequence", self.seq, VARINT_MAX),
            ("created", self.created.0, limits::MAX_TIME_MS),
            ("expires", self.expires.0, limits::MAX_TIME_MS),
        ] {
            if value > max {
                let got = value;
                return Err(WireError::TooLarge { field, got, max }.into());
            }
            w.varint(value);
        }
        w.u8(self.priority);
        w.bytes(&self.key);
        self.attributes.write(&mut w);
        w.bytes(&self.body);
        let signature = author.sign(Domain::Record, &w.clone().finish());
        w.raw(&signature.0);
        // One way in: what decodes is within all bounds.
        Record::parse(w.finish().into())
    }
}

/// The unit that is signed, flooded to every member and kept until it expires.
///
/// A value of this type is canonical and its signature is its author's; whether a
/// channel takes it, and whether its body is of its kind, is judged by the
/// [`Graph`](crate::Graph).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    id: RecordId,
    author: PeerId,
    fields: NewRecord,
    bytes: Bytes,
}

impl Record {
    /// Reads and verifies the bytes that travel.
    ///
    /// # Errors
    /// [`RecordError`]; all of them are the fault of whoever made or changed the bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
        let record = Self::parse(bytes)?;
        let (signed, signature) = record.bytes.split_at(record.bytes.len() - SIGNATURE_BYTES);
        let signature = Signature(signature.try_into().expect("split at its length"));
        verify(&record.author, Domain::Record, signed, &signature)
            .map_err(|_| RecordError::BadSignature)?;
        Ok(record)
    }

    fn parse(bytes: Bytes) -> Result<Self, RecordError> {
        if bytes.len() > limits::MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge(bytes.len()));
        }
        let mut r = Reader::new(&bytes);
        let format = r.u8("record format")?;
        if format != FORMAT {
            return Err(RecordError::UnknownFormat(format));
        }
        let channel = ChannelId::read(&mut r)?;
        let author = PeerId::read(&mut r)?;
        let fields = NewRecord {
            channel,
            kind: Kind(r.varint32("kind", u32::MAX)?),
            seq: r.varint("sequence", VARINT_MAX)?,
            created: WallMs(r.varint("created", limits::MAX_TIME_MS)?),
            expires: WallMs(r.varint("expires", limits::MAX_TIME_MS)?),
            priority: r.u8("priority")?,
            key: bytes.slice_ref(r.bytes("key", limits::MAX_KEY_BYTES)?),
            attributes: Attributes::read(&mut r)?,
            body: bytes.slice_ref(r.bytes("body", limits::MAX_RECORD_BYTES)?),
        };
        r.take("signature", SIGNATURE_BYTES)?;
        r.finish()?;
        if fields.seq == 0 {
            return Err(WireError::Invalid { field: "sequence" }.into());
        }
        if fields.expires <= fields.created {
            return Err(WireError::Invalid { field: "expires" }.into());
        }
        Ok(Self {
            id: RecordId(blake3::hash(&bytes).into()),
            author,
            fields,
            bytes,
        })
    }

    /// BLAKE3 of the bytes.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// Who signed it.
    pub fn author(&self) -> PeerId {
        self.author
    }

    /// The channel that it is for.
    pub fn channel(&self) -> ChannelId {
        self.fields.channel
    }

    /// What the body is.
    pub fn kind(&self) -> Kind {
        self.fields.kind
    }

    /// Its place in its author's sequence.
    pub fn seq(&self) -> u64 {
        self.fields.seq
    }

    /// When it was made, by its author's clock.
    pub fn created(&self) -> WallMs {
        self.fields.created
    }

    /// When it ends.
    pub fn expires(&self) -> WallMs {
        self.fields.expires
    }

    /// Higher ones are wanted first.
    pub fn priority(&self) -> u8 {
        self.fields.priority
    }

    /// What it is about.
    pub fn key(&self) -> &Bytes {
        &self.fields.key
    }

    /// What it can be searched by.
    pub fn attributes(&self) -> &Attributes {
        &self.fields.attributes
    }

    /// The body; [`body::Body::of`](crate::body::Body::of) reads it.
    pub fn body(&self) -> &Bytes {
        &self.fields.body
    }

    /// The bytes that are stored and travel.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All of it but the body and the signature.
    ///
    /// # Errors
    /// If its kind is known and its body is not of that kind.
    pub fn header(&self) -> Result<RecordHeader, WireError> {
        let control = Control::of(body::Body::of(self)?).map(Box::new);
        Ok(RecordHeader {
            id: self.id,
            author: self.author,
            kind: self.fields.kind,
            seq: self.fields.seq,
            created: self.fields.created,
            expires: self.fields.expires,
            priority: self.fields.priority,
            len: self.bytes.len() as u32,
            key: self.fields.key.as_ref().into(),
            attributes: self.fields.attributes.clone(),
            control,
        })
    }
}

/// A record without its body: enough for every rule of the graph. The store keeps
/// it beside the record, so that a start reads no bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// BLAKE3 of the record's bytes.
    pub id: RecordId,
    /// Who signed it.
    pub author: PeerId,
    /// What the body is.
    pub kind: Kind,
    /// Its place in its author's sequence.
    pub seq: u64,
    /// When it was made.
    pub created: WallMs,
    /// When it ends.
    pub expires: WallMs,
    /// Higher ones are wanted first.
    pub priority: u8,
    /// Length of the whole record in bytes.
    pub len: u32,
    /// What it is about.
    pub key: Box<[u8]>,
    /// What it can be searched by. Empty in what a [`Graph`](crate::Graph) holds: no
    /// rule asks for them, and in memory they would cost more than all else.
    pub attributes: Attributes,
    /// What it decides about others, if it is of a control kind that is known.
    pub control: Option<Box<Control>>,
}

/// A header as a [`Graph`](crate::Graph) holds it, packed; copy it with
/// [`to_header`](Self::to_header) to keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRef<'a> {
    /// BLAKE3 of the record's bytes.
    pub id: RecordId,
    /// Who signed it.
    pub author: PeerId,
    /// What the body is.
    pub kind: Kind,
    /// Its place in its author's sequence.
    pub seq: u64,
    /// When it was made.
    pub created: WallMs,
    /// When it ends.
    pub expires: WallMs,
    /// Higher ones are wanted first.
    pub priority: u8,
    /// Length of the whole record in bytes.
    pub len: u32,
    /// What it is about.
    pub key: &'a [u8],
    /// What it decides about others, if it is of a control kind that is known.
    pub control: Option<&'a Control>,
}

impl HeaderRef<'_> {
    /// A header of its own, without attributes: they are on the disk only.
    pub fn to_header(&self) -> RecordHeader {
        RecordHeader {
            id: self.id,
            author: self.author,
            kind: self.kind,
            seq: self.seq,
            created: self.created,
            expires: self.expires,
            priority: self.priority,
            len: self.len,
            key: self.key.into(),
            control: self.control.cloned().map(Box::new),
            attributes: Attributes::default(),
        }
    }
}

impl RecordHeader {
    /// The same without owning it.
    pub fn view(&self) -> HeaderRef<'_> {
        HeaderRef {
            id: self.id,
            author: self.author,
            kind: self.kind,
            seq: self.seq,
            created: self.created,
            expires: self.expires,
            priority: self.priority,
            len: self.len,
            key: &self.key,
            control: self.control.as_deref(),
        }
    }

    /// For the store; some 100 bytes and the attributes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(128);
        self.id.write(&mut w);
        self.author.write(&mut w);
        w.varint(self.kind.0.into());
        w.varint(self.seq);
        w.varint(self.created.0);
        w.varint(self.expires.0);
        w.u8(self.priority);
        w.varint(self.len.into());
        w.bytes(&self.key);
        self.attributes.write(&mut w);
        w.bool(self.control.is_some());
        if let Some(control) = &self.control {
            control.write(&mut w);
        }
        w.finish()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let id = RecordId::read(&mut r)?;
        let author = PeerId::read(&mut r)?;
        let kind = Kind(r.varint32("kind", u32::MAX)?);
        let header = Self {
            id,
            author,
            kind,
            seq: r.varint("sequence", VARINT_MAX)?,
            created: WallMs(r.varint("created", limits::MAX_TIME_MS)?),
            expires: WallMs(r.varint("expires", limits::MAX_TIME_MS)?),
            priority: r.u8("priority")?,
            len: r.varint32("length", limits::MAX_RECORD_BYTES as u32)?,
            key: r.bytes("key", limits::MAX_KEY_BYTES)?.into(),
            attributes: Attributes::read(&mut r)?,
            control: match r.bool("control")? {
                true => Some(Box::new(Control::read(kind, &mut r)?)),
                false => None,
            },
        };
        r.finish()?;
        Ok(header)
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not the canonical encoding of a record.
    #[error("the record is malformed: {0}")]
    Wire(#[from] WireError),
    /// Written by a newer Samara.
    #[error("the record is of format {0}; this version of Samara knows format {FORMAT}")]
    UnknownFormat(u8),
    /// More than [`limits::MAX_RECORD_BYTES`].
    #[error("the record has {0} bytes, more than the limit of {max}; put what is large into content", max = limits::MAX_RECORD_BYTES)]
    TooLarge(usize),
    /// The signature is not its author's.
    #[error("the record's signature is forged or damaged")]
    BadSignature,
}
