use std::io::{self, Write};

use samara_graph::{Domain, SecretKey};
use samara_wire::{ContentId, Writer};

use super::{CHUNK, CONTENT, END, HEAD, Head, MAGIC, PAGE, RECORD, SIGNATURE_BYTES, Totals};

/// Writes a bundle from front to back; holds nothing of it.
pub(crate) struct BundleWriter<W> {
    out: W,
    hash: blake3::Hasher,
    totals: Totals,
}

impl<W: Write> BundleWriter<W> {
    pub(crate) fn begin(out: W, head: &Head) -> io::Result<Self> {
        let mut bundle = Self {
            out,
            hash: blake3::Hasher::new(),
            totals: Totals::default(),
        };
        let mut w = Writer::new();
        head.channel.write(&mut w);
        head.exporter.write(&mut w);
        w.varint(head.created);
        w.varint(head.charters.len() as u64);
        for charter in &head.charters {
            w.bytes(charter);
        }
        bundle.put(MAGIC)?;
        bundle.frame(HEAD, &w.finish())?;
        Ok(bundle)
    }

    /// All of them, before the first content.
    pub(crate) fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.totals.records += 1;
        self.frame(RECORD, bytes)
    }

    /// A content begins: its manifest's root and pages follow, then its chunks.
    pub(crate) fn content(&mut self, id: &ContentId) -> io::Result<()> {
        self.totals.contents += 1;
        self.frame(CONTENT, &id.0)
    }

    /// The root, then the pages in order.
    pub(crate) fn page(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(PAGE, bytes)
    }

    /// The chunks in order.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.frame(CHUNK, bytes)
    }

    /// Says that this is all, and signs it.
    pub(crate) fn end(mut self, key: &SecretKey) -> io::Result<Totals> {
        let mut w = Writer::new();
        w.varint(self.totals.records);
        w.varint(self.totals.contents);
        let counts = w.finish();
        let mut w = Writer::new();
        w.varint(END);
        w.varint((counts.len() + SIGNATURE_BYTES) as u64);
        w.raw(&counts);
        self.put(&w.finish())?;
        let signature = key.sign(Domain::Bundle, self.hash.finalize().as_bytes());
        self.out.write_all(&signature.0)?;
        Ok(self.totals)
    }

    fn frame(&mut self, kind: u64, body: &[u8]) -> io::Result<()> {
        let mut w = Writer::new();
        w.varint(kind);
        w.varint(body.len() as u64);
        self.put(&w.finish())?;
        self.put(body)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}
