/// Writes canonical bytes, the counterpart of [`Reader`](crate::Reader).
#[derive(Debug, Default, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `n` bytes.
    pub fn with_capacity(n: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n),
        }
    }

    /// Number of bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// A byte that is 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// A variable-length integer of RFC 9000 section 16, in its shortest form.
    ///
    /// # Panics
    /// If `value` is above [`VARINT_MAX`](crate::VARINT_MAX): our own numbers
    /// are bounded far below it.
    pub fn varint(&mut self, value: u64) {
        match value {
            0..=0x3f => self.u8(value as u8),
            0x40..=0x3fff => self.raw(&(value as u16 | 0x4000).to_be_bytes()),
            0x4000..=0x3fff_ffff => self.raw(&(value as u32 | 0x8000_0000).to_be_bytes()),
            0x4000_0000..=crate::VARINT_MAX => self.raw(&(value | 0xc0 << 56).to_be_bytes()),
            _ => panic!("{value} does not fit a varint"),
        }
    }

    /// Bytes behind their length as a varint.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// UTF-8 text behind its length in bytes.
    pub fn str(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
