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

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object a line.
    Lines,
    /// Server-sent events, with the cursor as the identifier.
    Sse,
}

impl Form {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Sse => "text/event-stream",
        }
    }

    fn write(self, event: &Event) -> Vec<u8> {
        let json = serde_json::to_string(event).expect("events have string keys only");
        match (self, event) {
            (Self::Lines, _) => json + "\n",
            (Self::Sse, Event::Change { cursor, .. }) => format!("id: {cursor}\ndata: {json}\n\n"),
            (Self::Sse, _) => format!("data: {json}\n\n"),
        }
        .into_bytes()
    }
}

/// Events as they come. When the visitor goes away the body is dropped, and with
/// it the request is cancelled.
pub(crate) struct EventBody {
    first: Option<Event>,
    events: mpsc::Receiver<Event>,
    form: Form,
    _cancel: DropGuard,
}

impl EventBody {
    /// `first` comes before the others.
    pub(crate) fn new(
        first: Option<Event>,
        events: mpsc::Receiver<Event>,
        form: Form,
        cancel: DropGuard,
    ) -> Self {
        Self {
            first,
            events,
            form,
            _cancel: cancel,
        }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let event = match self.first.take() {
            Some(first) => Some(first),
            None => ready!(self.events.poll_recv(cx)),
        };
        let form = self.form;
        Poll::Ready(event.map(|event| Ok(Frame::data(form.write(&event).into()))))
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
