//! Every bound of the room, with its reason. docs/protocol.md lists those that a
//! second implementation must know.

use std::time::Duration;

// --- What is signed -------------------------------------------------------

/// Largest record, signature included: what needs more is content.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Longest key of a record: a version, a slug.
pub const MAX_KEY_BYTES: usize = 64;
/// Attributes of one record: they are kept beside each record for searching.
pub const MAX_ATTRIBUTES: usize = 16;
/// Longest name of an attribute, in bytes.
pub const MAX_ATTRIBUTE_NAME: usize = 32;
/// Longest value of an attribute, in bytes: what needs more is the body.
pub const MAX_ATTRIBUTE_BYTES: usize = 256;
/// Latest time that can be signed (the year 10889): sums of times cannot overflow.
pub const MAX_TIME_MS: u64 = 1 << 48;
/// How far ahead of the wall clock a creation time may lie.
pub const CLOCK_AHEAD: Duration = Duration::from_secs(10 * 60);
/// How long after its expiry a record is still held and taken, for clocks that
/// run behind its author's. It is not sent any more.
pub const EXPIRY_GRACE: Duration = Duration::from_secs(15 * 60);

/// Longest name of a channel, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Root keys of a charter.
pub const MAX_ROOTS: usize = 16;
/// Publishers that a charter can name.
pub const MAX_PUBLISHERS: usize = 256;
/// Admins that a charter can name.
pub const MAX_ADMINS: usize = 64;
/// Former owners and admins whose earlier word a charter keeps.
pub const MAX_FORMER: usize = 32;
/// Records of all of them together that a charter lists, 32 KiB of prefixes.
pub const MAX_FORMER_KEPT: usize = 2048;
/// Shortest and longest lease of presence that a charter can allow.
pub const PRESENCE_LEASE: std::ops::RangeInclusive<u64> = 10_000..=86_400_000;
/// Members up to which a channel has presence: every lease is a record for each of
/// the others.
pub const MAX_PRESENT: usize = 256;
/// Leases of one member that are kept: the one in force, and the one before it, which
/// clocks that differ may still need.
pub const MAX_LEASES: usize = 2;
/// Signatures on a charter: the old roots and the new ones.
pub const MAX_CHARTER_SIGNATURES: usize = 2 * MAX_ROOTS;
/// Largest signed charter; follows from the counts above.
pub const MAX_CHARTER_BYTES: usize = 48 * 1024;
/// Versions that a charter can have: a client walks them all.
pub const MAX_CHARTER_VERSIONS: usize = 256;
/// Charters that an operator decided against in a fork and that are remembered; who
/// stole keys can sign any number, and each costs the operator a word.
pub const MAX_DECLINED: usize = 64;
/// Records that any charter may allow in one channel.
pub const MAX_CHANNEL_RECORDS: u32 = 4_194_304;
/// Lifetime that any charter may allow a record.
pub const MAX_LIFETIME: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Longest text of an issue that travels in the record itself.
pub const MAX_INLINE_MARKDOWN: usize = 32 * 1024;
/// Longest subject of an issue, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 512;
/// Longest notes of a release, in bytes.
pub const MAX_NOTES_BYTES: usize = 16 * 1024;
/// Largest manifest root that a record may name (the content room's bound).
pub const MAX_ROOT_BYTES: u32 = 1024 * 1024;
/// Largest content that a record may name: 2^50 bytes.
pub const MAX_CONTENT_BYTES: u64 = 1 << 50;
/// Most entries of a content that a record may name (the content room's bound).
pub const MAX_CONTENT_FILES: u32 = 1_000_000;

/// Longest query over records, in bytes.
pub const MAX_QUERY_BYTES: usize = 4096;
/// Parentheses and nots of a query within each other: reading one recurses.
pub const MAX_QUERY_DEPTH: usize = 32;

// --- Membership -----------------------------------------------------------

/// Credentials between the charter and whoever acts by them.
pub const MAX_CHAIN: usize = 8;
/// Kinds that a grant may be limited to.
pub const MAX_SCOPE_KINDS: usize = 16;
/// Identities that one invitation lets in.
pub const MAX_INVITE_USES: u32 = 1024;
/// Bytes of an id that a revocation names a record by: finding another record with
/// the same ones takes 2^128 tries.
pub const ID_PREFIX_BYTES: usize = 16;
/// Records that a revocation can name, 32 KiB of prefixes.
pub const MAX_KEPT: usize = 2048;
/// Identities that one author can let in: one for a grant, as many as its uses for
/// an invite. The lowest sequences stand.
pub const MAX_PLACES: u64 = 65_536;
/// Grants of one author to one identity, so that nobody makes others weigh thousands
/// of credentials for each of its records. The lowest sequences stand, and no other
/// author's grants count against them.
pub const MAX_GRANTS_TO_ONE: usize = 1024;
/// Revocations of one author; the lowest sequences stand, and no other author's
/// records count against them.
pub const MAX_REVOCATIONS_PER_AUTHOR: u64 = 16_384;
/// Redemptions of one author that stand: an invitation is redeemed once, and again if a
/// disk was lost. The lowest sequences stand.
pub const MAX_REDEMPTIONS_PER_AUTHOR: u64 = 64;
/// Grants that one call for renewals drafts; the rest come with the next.
pub const MAX_RENEWALS: usize = 64;
/// How long a redeemed invitation is renewed for if it was shorter itself.
pub const RENEWED_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// Records of a proof: a full chain, and the redemption and invite at its end.
pub const MAX_PROOF_RECORDS: usize = MAX_CHAIN + 2;
/// Largest proof of membership; follows from the counts above.
pub const MAX_PROOF_BYTES: usize = MAX_SEALED_PROOF - PROOF_OVERHEAD;
/// The same sealed.
pub const MAX_SEALED_PROOF: usize = 16 * 1024;
/// Sealed proofs are padded to a multiple of it, so that their length tells nothing.
pub const PROOF_PAGE: usize = 4096;
/// Nonce, authentication tag and length of a sealed proof.
pub const PROOF_OVERHEAD: usize = 12 + 16 + 4;
/// Peers whose proof a graph remembers: as many as a node has connections.
pub const MAX_PROVED: usize = 512;

/// Records that wait for a grant which has not arrived; the oldest give way.
pub const MAX_DEFERRED: usize = 1024;
/// Bytes of them.
pub const MAX_DEFERRED_BYTES: usize = 4 * 1024 * 1024;
/// How many of them one neighbour may have brought: its oldest give way.
pub const MAX_DEFERRED_PER_NEIGHBOUR: usize = 256;

// --- Addresses and links --------------------------------------------------

/// Addresses of one peer.
pub const MAX_ADDRESSES: usize = 8;
/// Peers in a link.
pub const MAX_LINK_PEERS: usize = 16;
/// Characters of a link: what a mail client and a QR code still take.
pub const MAX_LINK_CHARS: usize = 2048;
/// Peer addresses in one message.
pub const MAX_PEERS_IN_MESSAGE: usize = 16;
/// Peers that a channel's graph remembers and is not connected to.
pub const MAX_KNOWN_PEERS: usize = 256;
/// How old a signed address may be.
pub const ADDRESS_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How often addresses that are older are forgotten.
pub const ADDRESS_SWEEP: Duration = Duration::from_secs(60);
/// Messages with peers that a neighbour may send at once; refilled one a second.
pub const PEERS_BURST: u64 = 8;
/// Peers that are kept in reserve for lost neighbours (HyParView's passive view).
pub const PASSIVE_VIEW: usize = 30;
/// Those of them that one neighbour may have named: it cannot choose whom we fall
/// back on.
pub const PASSIVE_SHARE: usize = 10;
/// Steps of a walk through the overlay (HyParView's ARWL).
pub const WALK_STEPS: u8 = 6;
/// Who is passed with that many steps left remembers the newcomer (PRWL).
pub const WALK_REMEMBERED: u8 = 3;
/// How often peers are exchanged by a walk. Jittered by a tenth.
pub const SHUFFLE_EVERY: Duration = Duration::from_secs(120);
/// The first time after a start, when few peers are known yet.
pub const SHUFFLE_FIRST: Duration = Duration::from_secs(10);
/// Shortest time from one exchange to one with all active neighbours, where more peers are
/// wanted; doubles with each until the next regular one.
pub const SHUFFLE_HASTE: Duration = Duration::from_secs(1);
/// Steps of that walk.
pub const SHUFFLE_STEPS: u8 = 4;
/// Active neighbours and peers in reserve that one exchange names, besides ourselves.
pub const SHUFFLE_ACTIVE: usize = 3;
/// See [`SHUFFLE_ACTIVE`].
pub const SHUFFLE_PASSIVE: usize = 4;
/// Walks of one neighbour that are passed on at once.
pub const WALK_BURST: u64 = 64;
/// Walks of one neighbour that are passed on a second after that.
pub const WALK_RATE: u64 = 8;
/// Walks whose way back is remembered.
pub const MAX_ROUTES: usize = 256;
/// Those of them that one neighbour may have sent.
pub const MAX_ROUTES_SHARE: usize = 32;
/// For how long the way back of a walk is remembered.
pub const ROUTE_LIFETIME: Duration = Duration::from_secs(20);
/// Newcomers that are told of at once, whoever brings them: each costs a message to
/// every neighbour.
pub const JOIN_BURST: u64 = 32;
/// Newcomers a second that are told of after that.
pub const JOIN_RATE: u64 = 8;
/// Neighbours that may be displaced at once by others that ask urgently.
pub const DISPLACE_BURST: u64 = 16;
/// Neighbours a second that may be displaced after that.
pub const DISPLACE_RATE: u64 = 1;
/// Times that one peer may ask for a place at once.
pub const PLACE_BURST: u64 = 4;
/// Wait before it may ask once more, and before we ask it again after it declined.
pub const PLACE_PAUSE: Duration = Duration::from_secs(10);
/// Connection attempts of one channel that may be under way at once.
pub const MAX_CONNECTING: usize = 4;
/// A connection attempt that has not become a neighbour by then has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after a peer's first failed attempt; doubles up to [`CONNECT_RETRY_MAX`].
pub const CONNECT_RETRY: Duration = Duration::from_secs(15);
/// Longest wait between two attempts at one peer.
pub const CONNECT_RETRY_MAX: Duration = Duration::from_secs(600);

// --- Messages -------------------------------------------------------------

/// Largest message between two graphs.
pub const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// Ids in one message: 1,024 of them are 32 KiB.
pub const MAX_IDS: usize = 1024;
/// Largest reconciliation message that is read.
pub const MAX_RECONCILE_BYTES: usize = 64 * 1024;
/// Largest reconciliation message that is written.
pub const RECONCILE_FRAME: usize = 32 * 1024;

// --- State that peers can grow --------------------------------------------

/// Records that wait for the disk, per channel. More are dropped and come again
/// with the next reconciliation.
pub const MAX_PENDING: usize = 1024;
/// Bytes of records that wait for the disk, per channel.
pub const MAX_PENDING_BYTES: usize = 16 * 1024 * 1024;
/// Control records of one author that are none of the kinds with a bound of their own:
/// retractions, above all. The earliest stand.
pub const MAX_CONTROL_PER_AUTHOR: usize = 1024;
/// Those of all authors below admins together, where a charter allows fewer records in
/// all than this; else as many as it allows. One invitation lets 1,024 in.
pub const LEAST_CONTROL_TOTAL: u64 = 4096;
/// Largest control record but for revocations, which list others: what the tightest
/// charter allows any record.
pub const MAX_CONTROL_BYTES: u32 = 1024;
/// Ids of records that can never become valid, remembered so as not to ask again.
pub const MAX_REFUSED: usize = 4096;
/// Those whose records were not taken, by name; who has least makes room.
pub const MAX_OFFENDERS: usize = 64;
/// Ids that we want of one neighbour and have not asked for yet.
pub const MAX_WANTED: usize = 4096;
/// Requests to one neighbour that are not answered yet.
pub const MAX_REQUESTED: usize = 256;
/// A request that nothing answers for that long has failed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A request that is open for that long has failed, though others be answered
/// meanwhile: a slow neighbour holds an id back from the others no longer.
pub const REQUEST_LONGEST: Duration = Duration::from_secs(300);
/// How soon ids that were asked of another neighbour, or that we had no room for,
/// are looked at again.
pub const WANTED_RETRY: Duration = Duration::from_secs(1);
/// Ids of one neighbour's that one event looks at, to keep events short.
pub const MAX_WANTED_SCAN: usize = 512;
/// Ids that one neighbour asked us for and that wait for its turn. An honest one
/// never has more than [`MAX_REQUESTED`] open, and as many again in flight.
pub const MAX_SERVING: usize = 1024;
/// Bytes of records that one neighbour may draw at once.
pub const SERVE_BURST: u64 = 16 * 1024 * 1024;
/// Bytes of records that one neighbour may draw a second after that.
pub const SERVE_RATE: u64 = 4 * 1024 * 1024;
/// Records that a neighbour may send unasked at once; more are not even verified.
pub const UNASKED_BURST: u64 = 1024;
/// Records a second that a neighbour may send unasked after that.
pub const UNASKED_RATE: u64 = 64;
/// Records of one author that are flooded whole at once; beyond it their ids are,
/// and who wants one asks.
pub const EAGER_BURST: u64 = 256;
/// Records a second of one author that are flooded whole after that.
pub const EAGER_RATE: u64 = 8;
/// Records of one author that are told of at once, whole or by id; beyond it they are
/// told of by nobody and come with a reconciliation, of those that then still stand.
pub const AUTHOR_BURST: u64 = 4096;
/// Records a second of one author that are told of after that.
pub const AUTHOR_RATE: u64 = 64;
/// Larger records are announced by id, so that a duplicate costs an id, not a body.
pub const EAGER_BYTES: usize = 8 * 1024;
/// How long announcements to a neighbour are gathered into one message.
pub const ANNOUNCE_DELAY: Duration = Duration::from_millis(20);

/// How long after somebody said that it holds a record the record is awaited from
/// another before it is asked for: longer than most ways through the overlay differ.
pub const GRAFT_AFTER: Duration = Duration::from_millis(500);
/// Records that are awaited so.
pub const MAX_AWAITED: usize = 4096;
/// Those of them that one neighbour may have named first.
pub const MAX_AWAITED_SHARE: usize = 1024;
/// Who said so, for one record: as many are asked in turn.
pub const MAX_HOLDERS: usize = 8;

/// How often a neighbour is told what we hold, in 25 bytes; a difference starts a
/// reconciliation. Jittered by a tenth.
pub const RECONCILE_EVERY: Duration = Duration::from_secs(45);
/// Least time between two reconciliations that we start with one neighbour.
pub const RECONCILE_PAUSE: Duration = Duration::from_secs(30);
/// Rounds of one reconciliation that may bring nothing that we lack, besides one
/// for each [`BARREN_IDS`] records that we hold: an honest neighbour has to walk
/// what both have in common, an endless one is cut off.
pub const MAX_BARREN_ROUNDS: usize = 64;
/// Ids of ours that an honest neighbour may need a whole round for; a full round
/// holds a thousand.
pub const BARREN_IDS: usize = 128;
/// A reconciliation that its neighbour does not answer for that long is over.
pub const RECONCILE_TIMEOUT: Duration = Duration::from_secs(20);
/// Reconciliation messages of a neighbour that we answer at once.
pub const RECONCILE_BURST: u64 = 256;
/// Reconciliation messages of a neighbour that we answer a second after that: each
/// one may cost some milliseconds.
pub const RECONCILE_RATE: u64 = 16;
/// A neighbour that named this many ids more than it delivered is lying.
pub const MAX_UNFULFILLED: usize = 1024;

/// Longest sleep: the wall clock may have been set meanwhile.
pub const MAX_SLEEP: Duration = Duration::from_secs(60);
