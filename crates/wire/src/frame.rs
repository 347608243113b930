use bytes::{Buf, Bytes, BytesMut};

use crate::{Reader, WireError, Writer};

/// One message on a stream: a kind, and a body that the room owning the kind decodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which message the body is.
    pub kind: u64,
    /// The message.
    pub body: Bytes,
}

/// Appends `varint(kind) varint(length) body` to a fresh buffer.
pub fn encode_frame(kind: u64, body: &[u8]) -> Bytes {
    let mut w = Writer::with_capacity(body.len() + 16);
    w.varint(kind);
    w.bytes(body);
    w.finish().into()
}

/// Cuts a byte stream into frames, never holding more than one frame beyond what
/// was pushed.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    max_body: usize,
}

impl FrameDecoder {
    /// Refuses bodies of more than `max_body` bytes as soon as their length is read.
    pub fn new(max_body: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max_body,
        }
    }

    /// Adds what came off the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the stream may end here: no part of a frame is waiting for the rest.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let mut r = Reader::new(&self.buffer);
        let header = r
            .varint("frame kind", crate::VARINT_MAX)
            .and_then(|kind| Ok((kind, r.varint("frame length", self.max_body as u64)?)));
        let (kind, length) = match header {
            Ok(header) => header,
            Err(WireError::Truncated { .. }) => return Ok(None),
            Err(other) => return Err(other),
        };
        let head = self.buffer.len() - r.remaining();
        if r.remaining() < length as usize {
            self.buffer
                .reserve(length as usize - (self.buffer.len() - head));
            return Ok(None);
        }
        self.buffer.advance(head);
        let body = self.buffer.split_to(length as usize).freeze();
        Ok(Some(Frame { kind, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_length_is_refused_before_the_body_arrives() {
        let mut d = FrameDecoder::new(10);
        d.push(&encode_frame(1, &[0; 10]));
        assert_eq!(d.next_frame().unwrap().unwrap().body.len(), 10);
        d.push(&encode_frame(1, &[0; 11])[..2]);
        assert!(matches!(
            d.next_frame(),
            Err(WireError::TooLarge { got: 11, .. })
        ));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in proptest::collection::vec((0u64..1 << 40, proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
            cuts in proptest::collection::vec(1usize..97, 1..200),
        ) {
            let stream: Vec<u8> = frames.iter().flat_map(|(k, b)| encode_frame(*k, b)).collect();
            let mut d = FrameDecoder::new(300);
            let (mut got, mut at, mut cut) = (Vec::new(), 0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + cut.next().unwrap()).min(stream.len());
                d.push(&stream[at..end]);
                at = end;
                while let Some(f) = d.next_frame().unwrap() {
                    got.push((f.kind, f.body.to_vec()));
                }
            }
            prop_assert!(d.is_empty());
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut d = FrameDecoder::new(50);
            d.push(&noise);
            while let Ok(Some(_)) = d.next_frame() {}
        }
    }
}
