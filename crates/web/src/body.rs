//! Response bodies that are written while they are made.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use samara_node::api::Event;
use tokio::{
    fs::File,
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::DropGuard;

/// Bytes read from a file at a time.
const READ_BYTES: usize = 64 << 10;

/// Events as lines of JSON. When the visitor goes away the body is dropped, and
/// with it the request is cancelled.
pub(crate) struct EventBody {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) _cancel: DropGuard,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(event) = ready!(self.events.poll_recv(cx)) else {
            return Poll::Ready(None);
        };
        let mut line = serde_json::to_vec(&event).expect("events have string keys only");
        line.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}

/// A file, to the length that was announced for it and not further.
pub(crate) struct FileBody {
    file: File,
    left: u64,
    buffer: Box<[u8]>,
}

impl FileBody {
    pub(crate) fn new(file: File, length: u64) -> Self {
        Self {
            file,
            left: length,
            buffer: vec![0; READ_BYTES].into(),
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let want = usize::try_from(this.left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
        let mut buf = ReadBuf::new(&mut this.buffer[..want]);
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut buf))?;
        let got = buf.filled().len();
        if got == 0 {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        let data = Bytes::copy_from_slice(buf.filled());
        this.left -= got as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
