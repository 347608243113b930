//! The receiving side of a request: one copy from the transport's buffers into a
//! pooled chunk buffer, hashed and written from there on a blocking thread.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use quinn::{Connection, RecvStream, VarInt};
use samara_store::{Content, WriteError};
use samara_swarm::RequestId;
use samara_wire::{ChannelId, ContentId, PeerId};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use crate::{
    core::{Input, TransferKey},
    limit::{Asking, Lane},
    message::{Ask, ROOT_PAGE},
    pool::{BufferPool, PooledBuffer},
    session::open_request,
    stopwatch::Stopwatch,
    transport,
    writers::Writers,
};

/// First byte of each answered item: the bytes follow.
pub(crate) const HERE: u8 = 0;
/// First byte of each answered item: the peer has it not, or not any more.
pub(crate) const NOT_HERE: u8 = 1;

/// A page that takes longer than this is asked for elsewhere: 128 KiB at 13 KB/s.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often there is news of a chunk that takes long.
pub(crate) const NEWS_EVERY: Duration = Duration::from_millis(500);

/// Pages are small: they need no more room than one source of many has.
const MANY: usize = usize::MAX;

/// What became of a request for chunks, piece by piece.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// So many bytes of a chunk are here that takes long, `came` of them since the last
    /// such news.
    Progress { chunk: u32, bytes: u32, came: u32 },
    /// All bytes are here, not yet verified, `came` of them since the last news of it.
    Arrived { chunk: u32, bytes: u32, came: u32 },
    /// The hash matches and the bytes are written.
    Written { chunk: u32, took: Duration },
    /// The hash does not match.
    Mismatch { chunk: u32 },
    /// The disk refused it.
    Failed { chunk: u32, error: WriteError },
    /// Nothing more comes in; `whole` if every chunk did. `wasted` bytes are of a chunk
    /// that did not.
    Ended { whole: bool, wasted: u64 },
}

/// Who asks for what, for the news to the core.
#[derive(Debug)]
pub(crate) struct FetchJob {
    pub(crate) key: TransferKey,
    pub(crate) request: RequestId,
    pub(crate) peer: PeerId,
    pub(crate) channel: ChannelId,
    pub(crate) content: Arc<Content>,
    /// Number and size of each chunk.
    pub(crate) chunks: Vec<(u32, u32)>,
    /// What its bytes have to pass.
    pub(crate) lane: Lane,
    /// Bytes that may wait unread on the connection.
    pub(crate) window: u32,
    /// Runs while there is no room for what arrives.
    pub(crate) unwritten: Stopwatch,
}

impl FetchJob {
    fn input(&self, news: Fetched) -> Input {
        Input::Fetched {
            key: self.key,
            request: self.request,
            peer: self.peer,
            news,
        }
    }
}

/// Carries out a request for chunks. `Ended` comes once, and last but for the
/// outcomes of chunks that arrived.
pub(crate) async fn fetch_chunks(
    connection: Connection,
    job: FetchJob,
    asking: Asking,
    pool: BufferPool,
    writers: Writers,
    core: mpsc::Sender<Input>,
    cancel: CancellationToken,
) {
    let job = Arc::new(job);
    let mut answer = Answer {
        stream: None,
        asking,
        unfinished: 0,
    };
    let whole = tokio::select! {
        whole = receive(&connection, &job, &mut answer, &pool, &writers, &core) => whole,
        () = cancel.cancelled() => false,
    };
    let wasted = match whole {
        true => 0,
        false => answer.wasted(),
    };
    drop(answer);
    let ended = Fetched::Ended { whole, wasted };
    let _ = core.send(job.input(ended)).await;
}

/// How far the answer to a request has come.
struct Answer {
    stream: Option<RecvStream>,
    asking: Asking,
    /// Bytes of the chunk that is being read.
    unfinished: u64,
}

impl Answer {
    /// Bytes that came in and are of no use, now that nothing more is read.
    fn wasted(&mut self) -> u64 {
        let mut bytes = self.unfinished;
        while let Some(stream) = &mut self.stream {
            let read = pin!(stream.read_chunk(usize::MAX, false));
            match read.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(Some(chunk))) => bytes += chunk.bytes.len() as u64,
                _ => break,
            }
        }
        bytes
    }
}

async fn receive(
    connection: &Connection,
    job: &Arc<FetchJob>,
    answer: &mut Answer,
    pool: &BufferPool,
    writers: &Writers,
    core: &mpsc::Sender<Input>,
) -> bool {
    let started = Instant::now();
    let ask = Ask::Chunks {
        channel: job.channel,
        content: *job.content.id(),
        chunks: job.chunks.iter().map(|(index, _)| *index).collect(),
    };
    let Ok((_request, stream)) = open_request(connection, &ask, job.window).await else {
        return false;
    };
    let stream = answer.stream.insert(stream);
    let mut whole = true;
    let mut told_at = started;
    for (chunk, bytes) in job.chunks.iter().copied() {
        let mut told = 0;
        let mut status = [0];
        if stream.read_exact(&mut status).await.is_err() {
            return false;
        }
        if status[0] != HERE {
            whole = false;
            answer.asking.settle(bytes as usize);
            continue;
        }
        let mut buffer = room(pool, bytes as usize, &job.unwritten).await;
        let mut rest = buffer.sized(bytes as usize);
        while !rest.is_empty() {
            let (mut piece, more) = rest.split_at_mut(job.lane.piece().min(rest.len()));
            job.lane.take(piece.len()).await;
            while !piece.is_empty() {
                let Ok(Some(read)) = stream.read(piece).await else {
                    return false;
                };
                answer.asking.settle(read);
                answer.unfinished += read as u64;
                piece = &mut piece[read..];
                if told_at.elapsed() >= NEWS_EVERY {
                    told_at = Instant::now();
                    let here = answer.unfinished as u32;
                    let came = here - std::mem::replace(&mut told, here);
                    let bytes = here;
                    let news = Fetched::Progress { chunk, bytes, came };
                    if core.send(job.input(news)).await.is_err() {
                        return false;
                    }
                }
            }
            rest = more;
        }
        answer.unfinished = 0;
        told_at = Instant::now();
        let came = bytes - told;
        let arrived = job.input(Fetched::Arrived { chunk, bytes, came });
        if core.send(arrived).await.is_err() {
            return false;
        }
        let (job, core) = (Arc::clone(job), core.clone());
        writers.submit(move || {
            let news = match job.content.verify_and_write(chunk, &buffer) {
                Ok(()) => Fetched::Written {
                    chunk,
                    took: started.elapsed(),
                },
                Err(WriteError::Mismatch { .. }) => Fetched::Mismatch { chunk },
                Err(error) => Fetched::Failed { chunk, error },
            };
            drop(buffer);
            let _ = core.blocking_send(job.input(news));
        });
    }
    whole
}

/// A buffer; `waiting` runs while those who write have not given one back.
async fn room(pool: &BufferPool, bytes: usize, waiting: &Stopwatch) -> PooledBuffer {
    let get = pool.get(bytes);
    tokio::pin!(get);
    tokio::select! {
        biased;
        buffer = &mut get => buffer,
        () = async {} => {
            let _inside = waiting.enter();
            get.await
        }
    }
}

/// Fetches manifest pages from one peer, in order; stops early where the peer has
/// no more. Unverified. Each page's bytes are bounded.
pub(crate) async fn fetch_pages(
    connection: &Connection,
    channel: ChannelId,
    content: ContentId,
    pages: &[u32],
    window: u32,
) -> Vec<(u32, Vec<u8>)> {
    let mut got = Vec::new();
    let ask = Ask::Pages {
        channel,
        content,
        pages: pages.to_vec(),
    };
    let window = window.min(transport::window(MANY, Duration::ZERO));
    let Ok((_, mut stream)) = open_request(connection, &ask, window).await else {
        return got;
    };
    for page in pages {
        match time::timeout(PAGE_TIMEOUT, read_page(&mut stream, *page)).await {
            Ok(Some(bytes)) => got.push((*page, bytes)),
            // What came before counts.
            _ => break,
        }
    }
    got
}

/// One page of an answer; `None` if the peer has it not, or breaks off.
async fn read_page(stream: &mut RecvStream, page: u32) -> Option<Vec<u8>> {
    let mut here = [0; 1];
    stream.read_exact(&mut here).await.ok()?;
    if here[0] != HERE {
        return None;
    }
    let mut len = [0; 4];
    stream.read_exact(&mut len).await.ok()?;
    let len = u32::from_le_bytes(len) as usize;
    let max = if page == ROOT_PAGE {
        samara_content::limits::MAX_ROOT_BYTES
    } else {
        samara_content::limits::MAX_PAGE_BYTES
    };
    if len > max {
        let _ = stream.stop(VarInt::from_u32(1));
        return None;
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use samara_store::Store;

    use super::*;
    use crate::{limit::Shapers, transport::tests::pair};

    #[tokio::test]
    async fn what_came_of_an_answer_that_broke_off_is_counted_as_wasted() {
        const CAME: usize = 5000;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("data"), Default::default()).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, vec![7; 1 << 20]).unwrap();
        let never = std::sync::atomic::AtomicBool::new(false);
        let content = store.import(&file, &Default::default(), &|_| {}, &never);
        let content = content.unwrap();
        let len = content.manifest().chunk(0).unwrap().len;
        assert!(len as usize > CAME);
        let (server, client) = pair().await;
        let mut shapers = Shapers::default();
        let channel = ChannelId([1; 32]);
        let (meter, watch) = Default::default();
        let lane = shapers.lane((false, true), channel, &meter, [&watch; 2]);
        let asking = lane.ask(len.into());
        let job = FetchJob {
            key: samara_swarm::ContentKey(1),
            request: RequestId(1),
            peer: PeerId([2; 32]),
            channel,
            content,
            chunks: vec![(0, len)],
            lane,
            window: 1 << 20,
            unwritten: Stopwatch::default(),
        };
        let (core, mut inputs) = mpsc::channel(8);
        let fetch = tokio::spawn(fetch_chunks(
            client,
            job,
            asking,
            BufferPool::new(1 << 20),
            Writers::start().unwrap(),
            core,
            CancellationToken::new(),
        ));
        let (mut answer, _ask) = server.accept_bi().await.unwrap();
        answer.write_all(&[HERE]).await.unwrap();
        answer.write_all(&[1; CAME]).await.unwrap();
        answer.finish().unwrap();
        fetch.await.unwrap();
        let Some(Input::Fetched {
            news: Fetched::Ended { whole, wasted },
            ..
        }) = inputs.recv().await
        else {
            panic!("it ended");
        };
        assert_eq!((whole, wasted), (false, CAME as u64));
    }
}
