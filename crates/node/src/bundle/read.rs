use std::io::{self, Read};

use bytes::Bytes;
use samara_graph::{Domain, Signature, limits as graph, verify};
use samara_wire::{ChannelId, ContentId, PeerId, Reader, VARINT_MAX, WireError};

use super::{
    BundleError, CHUNK, CONTENT, END, HEAD, Head, MAGIC, PAGE, RECORD, SIGNATURE_BYTES, Totals,
};

/// Largest head: every charter that a channel can have, and the fields before them.
pub(super) const MAX_HEAD: u64 =
    (graph::MAX_CHARTER_VERSIONS * (graph::MAX_CHARTER_BYTES + 4)) as u64 + 128;
/// Largest page: a manifest's root.
pub(super) const MAX_PAGE: u64 = samara_content::limits::MAX_ROOT_BYTES as u64;
/// Largest chunk.
pub(super) const MAX_CHUNK: u64 = samara_content::limits::MAX_CHUNK_BYTES as u64;

/// A part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Record(Bytes),
    Content(ContentId),
    Page(Bytes),
    Chunk(Bytes),
    /// The last one: the signature matched, and nothing follows.
    End(Totals),
}

/// Reads a bundle from front to back; holds one part of it at a time, whatever its
/// lengths claim.
#[derive(Debug)]
pub(crate) struct BundleReader<R> {
    input: R,
    hash: blake3::Hasher,
    head: Head,
    totals: Totals,
    /// The kind of the part before.
    last: u64,
}

impl<R: Read> BundleReader<R> {
    /// Reads the head.
    pub(crate) fn open(input: R) -> Result<Self, BundleError> {
        let mut bundle = Self {
            input,
            hash: blake3::Hasher::new(),
            head: Head {
                channel: ChannelId([0; 32]),
                exporter: PeerId([0; 32]),
                created: 0,
                charters: Vec::new(),
            },
            totals: Totals::default(),
            last: HEAD,
        };
        for expected in MAGIC {
            let mut byte = [0];
            bundle.fill(&mut byte)?;
            if byte[0] != *expected {
                return Err(BundleError::NotABundle);
            }
        }
        if bundle.varint()? != HEAD {
            return Err(BundleError::Damaged("it does not begin with its head"));
        }
        let body = bundle.body("a head", MAX_HEAD)?;
        bundle.head = decode_head(&body).map_err(|_| BundleError::Damaged("its head"))?;
        Ok(bundle)
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// The next part. Nothing is to be asked after [`Item::End`] or an error.
    pub(crate) fn next(&mut self) -> Result<Item, BundleError> {
        let kind = self.varint()?;
        // Records, then contents, each with its pages and then its chunks.
        let in_place = match kind {
            RECORD => matches!(self.last, HEAD | RECORD),
            CONTENT => self.last != CONTENT,
            PAGE => matches!(self.last, CONTENT | PAGE),
            CHUNK => matches!(self.last, PAGE | CHUNK),
            END => self.last != CONTENT,
            _ => return Err(BundleError::Damaged("a part of an unknown kind")),
        };
        if !in_place {
            return Err(BundleError::Damaged("a part where it has no place"));
        }
        self.last = kind;
        Ok(match kind {
            RECORD => {
                self.totals.records += 1;
                Item::Record(self.body("a record", graph::MAX_RECORD_BYTES as u64)?)
            }
            CONTENT => {
                self.totals.contents += 1;
                let id = self.body("a content's identifier", 32)?;
                let id = id[..].try_into().map(ContentId);
                Item::Content(id.map_err(|_| BundleError::Damaged("a content's identifier"))?)
            }
            PAGE => Item::Page(self.body("a page", MAX_PAGE)?),
            CHUNK => Item::Chunk(self.body("a chunk", MAX_CHUNK)?),
            _ => Item::End(self.end()?),
        })
    }

    /// Reads to the end and says what is in it: whether all of it is what the
    /// exporter signed. Whether it is true is for others to judge.
    pub(crate) fn check(mut self) -> Result<(Head, Totals), BundleError> {
        loop {
            if let Item::End(totals) = self.next()? {
                return Ok((self.head, totals));
            }
        }
    }

    fn end(&mut self) -> Result<Totals, BundleError> {
        let damaged = || BundleError::Damaged("its end");
        let length = self.varint()?;
        // Two counts of one to eight bytes, and the signature.
        let counts = length.checked_sub(SIGNATURE_BYTES as u64);
        let counts = counts.filter(|n| *n <= 16).ok_or_else(damaged)?;
        let mut bytes = vec![0; counts as usize];
        self.fill(&mut bytes)?;
        let mut r = Reader::new(&bytes);
        let totals = Totals {
            records: r.varint("records", VARINT_MAX).map_err(|_| damaged())?,
            contents: r.varint("contents", VARINT_MAX).map_err(|_| damaged())?,
        };
        r.finish().map_err(|_| damaged())?;
        let signed = *self.hash.finalize().as_bytes();
        let mut signature = Signature([0; SIGNATURE_BYTES]);
        self.fill(&mut signature.0)?;
        verify(&self.head.exporter, Domain::Bundle, &signed, &signature)
            .map_err(|_| BundleError::BadSignature)?;
        if totals != self.totals {
            return Err(BundleError::Damaged("its counts"));
        }
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(totals),
            Ok(_) => Err(BundleError::Damaged("something follows its end")),
            Err(error) => Err(BundleError::Io(error)),
        }
    }

    fn body(&mut self, what: &'static str, max: u64) -> Result<Bytes, BundleError> {
        let got = self.varint()?;
        if got > max {
            return Err(BundleError::TooLarge { what, got, max });
        }
        let mut body = vec![0; got as usize];
        self.fill(&mut body)?;
        Ok(body.into())
    }

    fn varint(&mut self) -> Result<u64, BundleError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes[..1])?;
        let length = 1 << (bytes[0] >> 6);
        self.fill(&mut bytes[1..length])?;
        Reader::new(&bytes[..length])
            .varint("number", VARINT_MAX)
            .map_err(|_| BundleError::Damaged("a number that is not in canonical form"))
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), BundleError> {
        match self.input.read_exact(into) {
            Ok(()) => {
                self.hash.update(into);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(BundleError::Truncated)
            }
            Err(error) => Err(BundleError::Io(error)),
        }
    }
}

fn decode_head(bytes: &Bytes) -> Result<Head, WireError> {
    let mut r = Reader::new(bytes);
    let channel = ChannelId::read(&mut r)?;
    let exporter = PeerId::read(&mut r)?;
    let created = r.varint("created", graph::MAX_TIME_MS)?;
    let n = r.count("charters", graph::MAX_CHARTER_VERSIONS, 1)?;
    let charters = (0..n)
        .map(|_| Ok(bytes.slice_ref(r.bytes("charter", graph::MAX_CHARTER_BYTES)?)))
        .collect::<Result<_, WireError>>()?;
    r.finish()?;
    Ok(Head {
        channel,
        exporter,
        created,
        charters,
    })
}
