//! The sending side of a request: chunks are read on a blocking thread into
//! pooled buffers that the transport takes over; while one batch is on its way the
//! next is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quinn::{Connection, SendStream};
use samara_store::{Content, ReadError};
use samara_swarm::{ServeId, limits::SLOWEST_SENDER};
use tokio::{sync::mpsc, task, time};

use crate::{
    core::{Input, TransferKey},
    fetch::{HERE, NEWS_EVERY, NOT_HERE},
    limit::Lane,
    limits,
    message::ROOT_PAGE,
    pool::{BufferPool, PoolShare, PooledBuffer},
    session::Close,
};

/// Bytes read in one visit to a blocking thread.
const BATCH: usize = 512 << 10;

/// A granted request, and where its chunks are.
#[derive(Debug)]
pub(crate) struct ServeJob {
    pub(crate) key: TransferKey,
    pub(crate) serve: ServeId,
    pub(crate) peer: samara_wire::PeerId,
    pub(crate) connection: Connection,
    pub(crate) content: Arc<Content>,
    pub(crate) chunks: Vec<(u32, u32)>,
    /// What this peer may have of the pool.
    pub(crate) share: PoolShare,
    /// Counts chunk bytes handed to the transport for this peer.
    pub(crate) sent: Arc<AtomicU64>,
}

/// Answers a request for chunks and tells the core when it ended.
pub(crate) async fn serve_chunks(
    mut stream: SendStream,
    job: ServeJob,
    pool: BufferPool,
    lane: Lane,
    core: mpsc::Sender<Input>,
) {
    let sent = async {
        answer(&mut stream, &job, &pool, &lane, &core).await.ok()?;
        stream.finish().ok()?;
        let bytes = job.chunks.iter().map(|(_, len)| u64::from(*len)).sum();
        let end = taken(&job.connection, &pool, patience(bytes), stream.stopped()).await?;
        Some(matches!(end, Ok(None)))
    };
    // Broken off by the peer or not: the core only needs to know that it ended,
    // which is when the last byte is acknowledged.
    let all = tokio::select! {
        sent = sent => sent.unwrap_or(false),
        () = tell_sending(&job, &core) => false,
    };
    let _ = core
        .send(Input::ServeEnded {
            key: job.key,
            serve: job.serve,
            peer: job.peer,
            taken: all,
        })
        .await;
}

/// Tells the core of an answer that takes long, as long as it goes on. What the
/// transport took says nothing of that, for it takes more than it sends.
async fn tell_sending(job: &ServeJob, core: &mpsc::Sender<Input>) {
    let counts = || {
        let stats = job.connection.stats();
        (stats.frame_tx.stream, stats.udp_rx.datagrams)
    };
    let mut before = counts();
    loop {
        time::sleep(NEWS_EVERY).await;
        let now = counts();
        // What goes to a peer that is gone is sent as well, now and then.
        if now.0 > before.0 && now.1 > before.1 {
            let (key, peer) = (job.key, job.peer);
            let _ = core.send(Input::Sending { key, peer }).await;
        }
        before = now;
    }
}

async fn answer(
    stream: &mut SendStream,
    job: &ServeJob,
    pool: &BufferPool,
    lane: &Lane,
    core: &mpsc::Sender<Input>,
) -> Result<(), quinn::WriteError> {
    let mut batches = batches(&job.chunks).into_iter();
    let mut ahead = match batches.next() {
        Some(batch) => Some(read_batch(job, batch, pool).await?),
        None => None,
    };
    while let Some(ready) = ahead.take() {
        let next = batches.next();
        let read = async {
            match next {
                Some(batch) => read_batch(job, batch, pool).await.map(Some),
                None => Ok(None),
            }
        };
        let send = send_batch(stream, job, pool, ready, lane, core);
        let (sent, read) = tokio::join!(send, read);
        sent?;
        ahead = read?;
    }
    Ok(())
}

fn batches(chunks: &[(u32, u32)]) -> Vec<&[(u32, u32)]> {
    let mut out = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, (_, len)) in chunks.iter().enumerate() {
        if bytes > 0 && bytes + *len as usize > BATCH {
            out.push(&chunks[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += *len as usize;
    }
    out.push(&chunks[start..]);
    out
}

type ReadChunk = (u32, Result<PooledBuffer, ReadError>);

async fn read_batch(
    job: &ServeJob,
    batch: &[(u32, u32)],
    pool: &BufferPool,
) -> Result<Vec<ReadChunk>, quinn::ConnectionError> {
    let lens: Vec<usize> = batch.iter().map(|(_, len)| *len as usize).collect();
    // A connection that is lost gives its buffers back when nobody holds it any more:
    // who waited for them here would hold it for ever.
    let buffers = tokio::select! {
        buffers = pool.get_all(&lens, Some(&job.share)) => buffers,
        lost = job.connection.closed() => return Err(lost),
    };
    let indices: Vec<u32> = batch.iter().map(|(index, _)| *index).collect();
    let content = Arc::clone(&job.content);
    let read = task::spawn_blocking(move || {
        indices
            .into_iter()
            .zip(buffers)
            .map(|(index, mut buffer)| {
                let read = content.read_chunk(index, &mut buffer).map(|()| buffer);
                (index, read)
            })
            .collect()
    });
    Ok(read.await.unwrap_or_default())
}

async fn send_batch(
    stream: &mut SendStream,
    job: &ServeJob,
    pool: &BufferPool,
    batch: Vec<ReadChunk>,
    lane: &Lane,
    core: &mpsc::Sender<Input>,
) -> Result<(), quinn::WriteError> {
    for (index, read) in batch {
        match read {
            Ok(buffer) => {
                let len = buffer.len();
                let mut head = Bytes::from_static(&[HERE]);
                let mut rest = Bytes::from_owner(buffer);
                while !head.is_empty() || !rest.is_empty() {
                    let piece = rest.split_to(lane.piece().min(rest.len()));
                    // Whoever is gone keeps its turn, and its buffers, from nobody.
                    tokio::select! {
                        biased;
                        () = lane.take(piece.len()) => {}
                        gone = job.connection.closed() => return Err(gone.into()),
                    }
                    let bytes = piece.len() as u64;
                    let mut parts = [std::mem::take(&mut head), piece];
                    let write = stream.write_all_chunks(&mut parts);
                    match taken(&job.connection, pool, patience(bytes), write).await {
                        Some(written) => written?,
                        None => return Err(quinn::ConnectionError::LocallyClosed.into()),
                    }
                }
                job.sent.fetch_add(len as u64, Ordering::Relaxed);
                let _ = core
                    .send(Input::Served {
                        key: job.key,
                        serve: job.serve,
                        peer: job.peer,
                        chunk: index,
                        bytes: len as u32,
                    })
                    .await;
            }
            Err(error) => {
                stream.write_all(&[NOT_HERE]).await?;
                let _ = core
                    .send(Input::ReadFailed {
                        key: job.key,
                        chunk: index,
                        error,
                    })
                    .await;
            }
        }
    }
    Ok(())
}

/// How long a peer may take for so many bytes: while others wait for room, and at most.
/// It may be this node's own way that is slow.
fn patience(bytes: u64) -> [Duration; 2] {
    [limits::SLOWEST_TAKER, SLOWEST_SENDER]
        .map(|rate| limits::TAKE_TIMEOUT + Duration::from_secs(bytes / rate))
}

/// What `taking` brings; or closes the connection if the peer makes it last longer
/// than its patience, or is silent while others wait for room. Ending the stream alone
/// would not do: the transport holds its bytes until the peer acknowledges even that.
async fn taken<T>(
    connection: &Connection,
    pool: &BufferPool,
    [soon, at_most]: [Duration; 2],
    taking: impl Future<Output = T>,
) -> Option<T> {
    let slow = async {
        time::sleep(soon).await;
        while !pool.is_short() {
            time::sleep(NEWS_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        taken = taking => return Some(taken),
        () = time::sleep(at_most) => {}
        () = slow => {}
        () = silence(connection, pool, limits::SILENT_TAKER) => {}
    }
    connection.close(Close::Busy.code(), b"answers are not taken");
    None
}

/// Until nothing has come from the peer for a while and others wait for room.
async fn silence(connection: &Connection, pool: &BufferPool, patience: Duration) {
    let mut heard = connection.stats().udp_rx.datagrams;
    loop {
        time::sleep(patience).await;
        let now = connection.stats().udp_rx.datagrams;
        if now == heard && pool.is_short() {
            return;
        }
        heard = now;
    }
}

/// Answers a request for manifest pages from `content`; `None` says of the first
/// page that it is not here, as for a content that this node does not hold.
pub(crate) async fn serve_pages(
    mut stream: SendStream,
    content: Option<Arc<Content>>,
    pages: Vec<u32>,
) {
    let send = async {
        for page in pages {
            let bytes = content.as_ref().and_then(|c| match page {
                ROOT_PAGE => Some(c.root_bytes().clone()),
                page => c.page(page),
            });
            let Some(bytes) = bytes else {
                stream.write_all(&[NOT_HERE]).await?;
                break;
            };
            let mut head = vec![HERE];
            head.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            stream
                .write_all_chunks(&mut [Bytes::from(head), bytes])
                .await?;
        }
        Ok::<(), quinn::WriteError>(())
    };
    if send.await.is_ok() {
        let _ = stream.finish();
    }
}

#[cfg(test)]
mod tests {
    use samara_store::Store;

    use super::*;
    use crate::limit::Shapers;

    #[test]
    fn batches_hold_every_chunk_once_and_stay_small() {
        let chunks: Vec<_> = (0..100).map(|i| (i, 100_000 + i)).collect();
        let cut = batches(&chunks);
        assert_eq!(cut.concat(), chunks);
        assert!(
            cut.iter()
                .all(|b| b.iter().map(|c| c.1 as usize).sum::<usize>() <= BATCH)
        );
        assert_eq!(batches(&[(7, 4 << 20)]).len(), 1);
    }

    #[tokio::test]
    async fn who_does_not_take_its_answers_loses_the_connection() {
        let (server, client) = crate::transport::tests::pair().await;
        // Held, and never read.
        let (_send, _recv) = {
            let (mut send, recv) = client.open_bi().await.unwrap();
            send.write_all(b"?").await.unwrap();
            (send, recv)
        };
        let (mut stream, _) = server.accept_bi().await.unwrap();
        let soon = Duration::from_millis(300);
        let little = stream
            .write_all_chunks(&mut [Bytes::from_static(&[0; 1000])][..])
            .await;
        assert!(little.is_ok());
        let mut much = [Bytes::from(vec![0; 64 << 20])];
        let pool = BufferPool::new(1 << 20);
        let write = stream.write_all_chunks(&mut much);
        let taken = taken(&server, &pool, [soon; 2], write).await;
        assert!(taken.is_none());
        let closed = client.closed().await;
        let quinn::ConnectionError::ApplicationClosed(why) = closed else {
            panic!("{closed}");
        };
        assert_eq!(why.error_code, Close::Busy.code());
    }

    #[tokio::test]
    async fn a_lost_connection_gives_back_what_it_had_of_the_pool() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("data"), Default::default()).unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, vec![7; 8 << 20]).unwrap();
        let never = std::sync::atomic::AtomicBool::new(false);
        let content = store.import(&file, &Default::default(), &|_| {}, &never);
        let content = content.unwrap();
        let chunks: Vec<(u32, u32)> = (0..content.manifest().chunk_count())
            .map(|i| (i, content.manifest().chunk(i).unwrap().len))
            .collect();
        let most = chunks.iter().map(|(_, len)| *len as usize).max().unwrap();
        // Room for one batch: all but one request wait for it.
        let pool = BufferPool::new(2 * most.max(BATCH));
        let share = PoolShare::default();
        let (server, client) = crate::transport::tests::pair().await;
        let (core, mut inputs) = mpsc::channel(1024);
        let mut serves = task::JoinSet::new();
        let mut unread = Vec::new();
        for serve in 0..4 {
            let (mut asks, answers) = client.open_bi().await.unwrap();
            asks.write_all(b"?").await.unwrap();
            unread.push((asks, answers));
            let (stream, _) = server.accept_bi().await.unwrap();
            let job = ServeJob {
                key: samara_swarm::ContentKey(1),
                serve: ServeId(serve),
                peer: samara_wire::PeerId([1; 32]),
                connection: server.clone(),
                content: Arc::clone(&content),
                chunks: chunks.clone(),
                share: share.clone(),
                sent: Arc::default(),
            };
            let lane = Shapers::default().lane(
                (true, true),
                samara_wire::ChannelId([2; 32]),
                &Default::default(),
                [&Default::default(); 2],
            );
            serves.spawn(serve_chunks(stream, job, pool.clone(), lane, core.clone()));
        }
        while !pool.is_short() {
            task::yield_now().await;
        }
        client.close(0u32.into(), b"");
        drop((server, client, unread, core));
        let all = async {
            while serves.join_next().await.is_some() {}
            while inputs.recv().await.is_some() {}
            while crate::pool::tests::free(&pool) < 2 * most.max(BATCH) {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(Duration::from_secs(20), all).await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_was_killed_is_noticed_once_others_wait_for_room() {
        let server = crate::transport::tests::endpoint(1);
        let addr = server.addr;
        let (killed, kill) = tokio::sync::oneshot::channel::<()>();
        let peer = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let held = runtime.block_on(async {
                let client = crate::transport::tests::endpoint(2);
                let dialled = client.endpoint.connect(addr, crate::tls::SERVER_NAME);
                let connection = dialled.unwrap().await.unwrap();
                let mut stream = connection.open_uni().await.unwrap();
                stream.write_all(b"here").await.unwrap();
                kill.await.unwrap();
                (client, connection, stream)
            });
            // As SIGKILL: nothing runs any more that could say goodbye.
            drop(runtime);
            std::mem::forget(held);
        });
        let connection = server.endpoint.accept().await.unwrap().await.unwrap();
        let mut stream = connection.accept_uni().await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        killed.send(()).unwrap();
        peer.join().unwrap();
        let soon = Duration::from_millis(50);
        let pool = BufferPool::new(1 << 20);
        let all = pool.get(1 << 20).await;
        let alone = time::timeout(10 * soon, silence(&connection, &pool, soon)).await;
        assert!(alone.is_err(), "nobody waits for room");
        let waits = pool.get(1);
        tokio::pin!(waits);
        assert!(time::timeout(soon, &mut waits).await.is_err());
        let noticed = silence(&connection, &pool, soon);
        time::timeout(Duration::from_secs(20), noticed)
            .await
            .unwrap();
        drop(all);
    }

    #[test]
    fn the_slowest_peer_has_the_time_it_needs() {
        assert_eq!(patience(0), [limits::TAKE_TIMEOUT; 2]);
        let [while_short, at_most] = patience(4 << 20);
        assert!(while_short >= Duration::from_secs(256));
        assert!(at_most >= Duration::from_secs((4 << 20) / SLOWEST_SENDER));
    }
}
