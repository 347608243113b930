use thiserror::Error;

/// Why bytes are not a value of the type that was asked for. Always the fault of
/// whoever wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside the field.
    #[error("{field} is cut short")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// The field is longer, or the number larger, than its bound.
    #[error("{field} is {got}, more than the limit of {max}")]
    TooLarge {
        /// What was being read.
        field: &'static str,
        /// What the bytes claim.
        got: u64,
        /// The bound.
        max: u64,
    },
    /// The same value has a shorter or differently ordered encoding.
    #[error("{field} is not in canonical form")]
    NonCanonical {
        /// What was being read.
        field: &'static str,
    },
    /// A value that the field cannot have.
    #[error("{field} has an invalid value")]
    Invalid {
        /// What was being read.
        field: &'static str,
    },
    /// Bytes are left after the last field.
    #[error("{left} bytes follow the end of the message")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// Reads canonical bytes, front to back.
///
/// Every method names the field that it reads, for the error message, and takes
/// the bound of whatever has a variable size.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Number of bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The next `n` bytes as they are.
    pub fn take(&mut self, field: &'static str, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self
            .bytes
            .split_at_checked(n)
            .ok_or(WireError::Truncated { field })?;
        self.bytes = tail;
        Ok(head)
    }

    /// An array of fixed length.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let (head, tail) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated { field })?;
        self.bytes = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// A byte that is 0 or 1.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, WireError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid { field }),
        }
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A variable-length integer of RFC 9000 section 16, in its shortest form,
    /// not above `max`.
    pub fn varint(&mut self, field: &'static str, max: u64) -> Result<u64, WireError> {
        let first = *self.bytes.first().ok_or(WireError::Truncated { field })?;
        let len = 1usize << (first >> 6);
        let raw = self.take(field, len)?;
        let mut value = u64::from(first & 0x3f);
        for byte in &raw[1..] {
            value = value << 8 | u64::from(*byte);
        }
        if len > 1 && value < 1 << (8 * (len / 2) - 2) {
            return Err(WireError::NonCanonical { field });
        }
        if value > max {
            return Err(WireError::TooLarge {
                field,
                got: value,
                max,
            });
        }
        Ok(value)
    }

    /// A varint that fits a `u32`, not above `max`.
    pub fn varint32(&mut self, field: &'static str, max: u32) -> Result<u32, WireError> {
        // The bound makes the conversion exact.
        Ok(self.varint(field, u64::from(max))? as u32)
    }

    /// A count of items of at least `item_min` bytes each, not above `max`.
    ///
    /// Checked against the bytes that are left, so that an allocation of that
    /// many items is at most proportional to what the peer really sent.
    pub fn count(
        &mut self,
        field: &'static str,
        max: usize,
        item_min: usize,
    ) -> Result<usize, WireError> {
        let n = self.varint(field, max as u64)? as usize;
        if n.saturating_mul(item_min) > self.remaining() {
            return Err(WireError::Truncated { field });
        }
        Ok(n)
    }

    /// Bytes behind their length as a varint, at most `max` of them.
    pub fn bytes(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], WireError> {
        let n = self.varint(field, max as u64)? as usize;
        self.take(field, n)
    }

    /// UTF-8 text behind its length in bytes, at most `max` of them.
    pub fn str(&mut self, field: &'static str, max: usize) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(field, max)?).map_err(|_| WireError::Invalid { field })
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Ends the reading; an error if bytes are left.
    pub fn finish(self) -> Result<(), WireError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing { left }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{VARINT_MAX, Writer};
    use proptest::prelude::*;

    #[test]
    fn varint_edges_have_one_form_each() {
        for (value, len) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            ((1 << 30) - 1, 4),
            (1 << 30, 8),
            (VARINT_MAX, 8),
        ] {
            let mut w = Writer::new();
            w.varint(value);
            let bytes = w.finish();
            assert_eq!(bytes.len(), len, "{value}");
            let mut r = Reader::new(&bytes);
            assert_eq!(r.varint("n", VARINT_MAX), Ok(value));
            assert_eq!(r.finish(), Ok(()));
        }
    }

    #[test]
    fn longer_forms_of_small_numbers_are_refused() {
        for bytes in [
            &[0x40, 63][..],
            &[0x80, 0, 0x3f, 0xff],
            &[0xc0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(
                Reader::new(bytes).varint("n", VARINT_MAX),
                Err(WireError::NonCanonical { field: "n" })
            );
        }
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        let mut w = Writer::new();
        w.bytes(b"abcd");
        let bytes = w.finish();
        assert_eq!(Reader::new(&bytes).bytes("b", 4), Ok(&b"abcd"[..]));
        assert_eq!(
            Reader::new(&bytes).bytes("b", 3),
            Err(WireError::TooLarge {
                field: "b",
                got: 4,
                max: 3
            })
        );
    }

    #[test]
    fn a_count_cannot_promise_more_than_was_sent() {
        let mut w = Writer::new();
        w.varint(3);
        w.raw(&[0; 63]);
        let bytes = w.finish();
        assert_eq!(Reader::new(&bytes).count("c", 10, 21), Ok(3));
        assert_eq!(
            Reader::new(&bytes).count("c", 10, 22),
            Err(WireError::Truncated { field: "c" })
        );
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..9)) {
            let mut r = Reader::new(&bytes);
            if let Ok(value) = r.varint("n", VARINT_MAX) {
                let used = bytes.len() - r.remaining();
                let mut w = Writer::new();
                w.varint(value);
                prop_assert_eq!(&bytes[..used], &w.finish()[..]);
            }
        }
    }
}
