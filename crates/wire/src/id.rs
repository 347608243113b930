use std::{fmt, str::FromStr};

use data_encoding::{Encoding, Specification};
use thiserror::Error;

use crate::{Reader, WireError, Writer};

/// The text is not an identifier: 52 characters of lowercase base32 (RFC 4648
/// section 6, no padding).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an identifier: 52 characters of a-z and 2-7 are expected")]
pub struct ParseIdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first ten characters, for people; not unique.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(10);
                text
            }

            /// Reads the 32 bytes.
            pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
                r.array(stringify!($name)).map(Self)
            }

            /// Writes the 32 bytes.
            pub fn write(&self, w: &mut Writer) {
                w.raw(&self.0);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&base32().encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bytes = base32().decode(text.as_bytes()).map_err(|_| ParseIdError)?;
                bytes.try_into().map(Self).map_err(|_| ParseIdError)
            }
        }
    };
}

id! {
    /// Who a node is: its Ed25519 public key (RFC 8032).
    PeerId
}
id! {
    /// What a channel is: the BLAKE3 hash of its first charter.
    ChannelId
}
id! {
    /// What a content is: the BLAKE3 hash of its manifest's root.
    ContentId
}
id! {
    /// What a record is: the BLAKE3 hash of its bytes.
    RecordId
}
id! {
    /// The BLAKE3 hash of a chunk's bytes.
    ChunkHash
}

/// RFC 4648 section 6 in lowercase, without padding, trailing bits zero.
pub fn base32() -> &'static Encoding {
    static ENCODING: std::sync::LazyLock<Encoding> = std::sync::LazyLock::new(|| {
        let mut spec = Specification::new();
        spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        spec.encoding().expect("the alphabet has 32 symbols")
    });
    &ENCODING
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_one_to_one() {
        let id = PeerId(std::array::from_fn(|i| i as u8 * 7));
        let text = id.to_string();
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse::<PeerId>(), Err(ParseIdError));
        assert_eq!(text[1..].parse::<PeerId>(), Err(ParseIdError));
        // The last character carries one bit: any other of its bits set is another text for the same id.
        let twin = format!("{}b", &text[..51]);
        assert_eq!(twin.parse::<PeerId>(), Err(ParseIdError));
    }
}
