//! The command line: every command and option, with the text that explains it.

mod edit;
mod overview;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use samara_node::{
    Priority,
    api::{Attribute, Scope},
};

pub(crate) use edit::EditArgs;
use overview::{OVERVIEW, OVERVIEW_END};

use crate::{
    limits::{LimitArgs, LimitFlags},
    quantity::{parse_cursor, parse_duration, parse_lifetime, parse_size},
    settings::{Endpoint, Keep, parse_site},
};

/// A content distribution engine: a publisher lets go of a file, an update or a
/// newsletter once, and the subscribers carry it to each other.
#[derive(Debug, Parser)]
#[command(
    name = "samara",
    version,
    help_template = OVERVIEW,
    after_help = OVERVIEW_END,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Directory of identity, index and contents; default: the platform's data directory
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// As which of the data directory's identities; default: what `samara id default` says
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// QUIC address to listen on; default: UDP port 7421 everywhere, a free port if it is taken
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Pages and local API, or `off`; default: 127.0.0.1:7422 for `node`, off for others
    #[arg(long, global = true, value_name = "ADDR:PORT|off")]
    pub(crate) http: Option<Endpoint>,
    /// Metrics and health only, on any address, or `off`; default: off
    #[arg(long, global = true, value_name = "ADDR:PORT|off")]
    pub(crate) metrics: Option<Endpoint>,
    /// Configuration file (TOML); default: config.toml in the data directory
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Nodes with the same label count as near each other; default: judged by address
    #[arg(
        long,
        global = true,
        value_name = "LABEL",
        value_parser = parse_site
    )]
    pub(crate) site: Option<String>,
    /// Bytes that the store's own files may take; default: 20 GiB
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        value_parser = parse_size
    )]
    pub(crate) quota: Option<u64>,
    /// Releases kept of a followed channel, the newest N, or `all`; default: as each command says
    #[arg(long, global = true, value_name = "N|all")]
    pub(crate) keep_releases: Option<Keep>,
    /// Give up after this long without progress; default: 30s
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        value_parser = parse_duration
    )]
    pub(crate) timeout: Option<Duration>,
    /// Address that this node is reachable at from outside; may be given several times
    #[arg(long, global = true, value_delimiter = ',', value_name = "ADDR:PORT")]
    pub(crate) external: Vec<SocketAddr>,
    /// Neither look for others on the local network nor tell it of this node
    #[arg(
        long,
        global = true,
        action = ArgAction::SetTrue
    )]
    pub(crate) no_mdns: bool,
    /// One JSON object a line on standard output, for scripts
    #[arg(
        long,
        global = true,
        action = ArgAction::SetTrue
    )]
    pub(crate) json: bool,
    /// Say more: progress events with --json, and what happens inside; twice for everything
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count
    )]
    pub(crate) verbose: u8,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Share a file or folder: prints a link and serves until interrupted.
    ///
    /// The files are served from where they lie; nothing is copied. Started again on the same
    /// path, the link is the same.
    #[command(
        after_help = "Examples:\n  samara share report.pdf\n  samara share --json build/ | head -1"
    )]
    Share {
        /// File or folder
        path: PathBuf,
        /// Refuse names that some platform cannot hold (case collisions, CON, trailing dots)
        #[arg(long)]
        portable: bool,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// List what a link leads to: entries, sizes, and what of it is on this disk already.
    ///
    /// Of a release it shows the version and the notes too.
    #[command(after_help = "Examples:\n  samara ls samara:abc...\n  samara ls product")]
    Ls {
        /// The link, as `samara share` or `samara link` printed it; or a channel that is on this node
        link: String,
    },
    /// Fetch the newest content of a link, verified, as DIR/NAME.
    ///
    /// Run again it resumes; what is on the disk already is not fetched again. A destination with
    /// other content is left alone unless --force is given.
    #[command(
        after_help = "Examples:\n  samara get samara:abc... -o ~/Downloads\n  \
        samara get samara:abc... --only 'docs/**' --only '*.md'\n  \
        samara get samara:abc... --seed      keep serving to others afterwards"
    )]
    Get {
        /// The link, as `samara share` or `samara link` printed it
        link: String,
        /// Directory that will hold it; made if need be
        #[arg(short, long, value_name = "DIR", default_value = ".")]
        output: PathBuf,
        /// Fetch only entries whose path matches; may be given several times
        #[arg(long, value_name = "GLOB")]
        only: Vec<String>,
        /// Keep serving after completion, until interrupted
        #[arg(long)]
        seed: bool,
        /// Replace a destination that differs
        #[arg(long)]
        force: bool,
        /// Fetch the first bytes first, for what is used while it arrives
        #[arg(long)]
        in_order: bool,
        /// Also write the file's bytes to standard output as they come, in order
        #[arg(long)]
        stdout: bool,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Follow a channel.
    ///
    /// Stores the subscription; a running node (`samara node`) follows it: a release appears whole as
    /// DIR/VERSION/NAME, DIR/current is switched to it at once, issues appear in `samara read`.
    #[command(
        after_help = "Examples:\n  samara subscribe samara:abc... --into /opt/product\n  \
        samara subscribe samara:abc... --into /opt/product --once      for cron and scripts"
    )]
    Subscribe {
        #[command(flatten)]
        follow: Follow,
    },
    /// Stop following a channel; what was installed stays.
    Unsubscribe {
        /// Name, id, or the beginning of an id
        channel: String,
    },
    /// Keep and serve everything that a channel has, as a second seeder.
    #[command(
        after_help = "Examples:\n  samara mirror samara:abc... && samara node\n  \
        samara mirror samara:abc... --keep share    the newest whole, a share of the others"
    )]
    Mirror {
        #[command(flatten)]
        follow: Follow,
        /// What is kept of releases that are not the newest any more and have parity: a keeper's
        /// share leaves the others to the other keepers
        #[arg(long, value_enum, default_value_t)]
        keep: KeepOld,
    },
    /// List newsletter issues, or show one.
    #[command(
        after_help = "Examples:\n  samara read                 all issues of all channels\n  \
        samara read weekly          issues of one channel\n  samara read weekly 1        the newest one"
    )]
    Read {
        /// Name, id, or the beginning of an id
        channel: Option<String>,
        /// Number in the list (1 is the newest) or slug
        issue: Option<String>,
    },
    /// Create and list channels; show and change their charters.
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Print a channel's link, with this node's addresses as the way in.
    Link {
        /// Name, id, or the beginning of an id
        channel: String,
        /// As a QR code as well, with as many ways in as fit the terminal
        #[arg(long, conflicts_with = "json")]
        qr: bool,
    },
    /// Make a link that admits its bearer to a channel.
    ///
    /// The link holds a key for one use, never a secret of the channel. Inviters, admins and the
    /// owner can make one.
    #[command(
        after_help = "Examples:\n  samara invite club\n  samara invite club --role reader --uses 20 --expires 30d"
    )]
    Invite {
        /// Name, id, or the beginning of an id
        channel: String,
        /// What the bearer becomes: publisher, inviter, keeper, member or reader; default: member
        #[arg(long)]
        role: Option<String>,
        /// How long it may be used; default: 7d
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        expires: Option<Duration>,
        /// How long the bearer belongs to the channel; default: ten years, renewed before they end
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        member_for: Option<Duration>,
        /// How many it admits; default: 1
        #[arg(long, value_name = "N")]
        uses: Option<u32>,
        /// As a QR code as well, with as many ways in as fit the terminal
        #[arg(long, conflicts_with = "json")]
        qr: bool,
    },
    /// Join a channel by an invitation, and follow it from now on.
    #[command(after_help = "Example:\n  samara join samara:abc... && samara node")]
    Join {
        /// The link, as `samara invite` printed it
        link: String,
        /// Install releases as DIR/VERSION/NAME, with DIR/current pointing at the newest
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// List who belongs to a channel, in which role, since when and until when.
    Members {
        /// Name, id, or the beginning of an id
        channel: String,
    },
    /// Take somebody's rights in a channel, for as long as the channel lives.
    ///
    /// Every node that learns of it disconnects the revoked one and takes nothing more from it. What
    /// it published before stays unless --erase is given. Whom it had revoked stays revoked all the
    /// same, and is named.
    #[command(
        after_help = "Examples:\n  samara revoke club 4fzk\n  samara revoke club --invitation 7pqa   # and everybody who came by it"
    )]
    Revoke {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Who: the id, or the beginning of a member's
        peer: String,
        /// Take back what it published, too, and the roles that it gave; not its revocations
        #[arg(long)]
        erase: bool,
        /// Take back its revocations as well: whom it alone had revoked belongs to the channel again
        #[arg(long, requires = "erase")]
        pardon: bool,
        /// PEER is an invitation (`samara members` says who came by which): revoke it and everybody who
        /// came by it
        #[arg(long)]
        invitation: bool,
    },
    /// Give somebody a role in a channel, in place of the one that they have.
    ///
    /// If it is a lesser one, what they wrote until now stays, and nothing can be added to it later.
    /// Only owners and admins lower roles.
    #[command(
        after_help = "Examples:\n  samara role club 4fzk publisher\n  samara role club 4fzk reader --expires 90d"
    )]
    Role {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Who: the id, or the beginning of a member's
        peer: String,
        /// admin, publisher, inviter, keeper, member or reader
        role: String,
        /// How long; default: ten years, renewed before they end
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        expires: Option<Duration>,
    },
    /// Stop belonging to a channel; what was installed stays.
    ///
    /// Gives back the role that this node was given in the channel, looks for a member to tell (as
    /// long as --timeout), and forgets the channel. What it published stays. A new invitation brings
    /// it back.
    Leave {
        /// Name, id, or the beginning of an id
        channel: String,
    },
    /// Publish a release: a file or folder, and a signed record of it.
    #[command(after_help = "Examples:\n  samara publish product ./dist\n  \
        samara publish product ./dist --version 2.1.0 --notes CHANGES.md")]
    Publish {
        /// Name, id, or the beginning of an id
        channel: String,
        /// File or folder; served from where it lies, so leave it there
        path: PathBuf,
        /// Version, never used before in this channel; default: the highest one that is numbers and
        /// dots, its last number one higher (after 1.0 comes 1.1, after 7 comes 8), or 1
        #[arg(long)]
        version: Option<String>,
        /// Markdown file with the release notes, which `ls`, `get` and `subscribe --once` show
        #[arg(long, value_name = "FILE")]
        notes: Option<PathBuf>,
        /// Refuse names that some platform cannot hold (case collisions, CON, trailing dots)
        #[arg(long)]
        portable: bool,
        /// urgent: fetched before everything else; bulk: when there is nothing else to do
        #[arg(long, value_name = "urgent|normal|bulk", default_value = "normal")]
        priority: Priority,
        /// Add M parity shards to every K chunks, so that any K of them bring it back: `4/32` for
        /// publishers that leave early, `20/10` for archives; `none` for none; default: as for the
        /// release before
        #[arg(long, value_name = "M/K")]
        parity: Option<String>,
    },
    /// Take a release back: subscribers that have not installed it will not.
    Unpublish {
        /// Name, id, or the beginning of an id
        channel: String,
        /// The version
        version: String,
    },
    /// Post a newsletter issue: Markdown and attachments.
    #[command(
        after_help = "Example:\n  samara post weekly issue-12.md --attach chart.png --attach data.csv"
    )]
    Post {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Markdown file
        file: PathBuf,
        /// Subject; default: the first heading of the file
        #[arg(long)]
        subject: Option<String>,
        /// File to attach; may be given several times
        #[arg(long, value_name = "FILE")]
        attach: Vec<PathBuf>,
    },
    /// List a channel's records that have not ended, the oldest first.
    ///
    /// EXPR compares kind, author, key, seq, created, expires, priority and attr.NAME with =, !=, <,
    /// <=, > and >=, joined by and, or, not and parentheses. Values: numbers, "texts", x"00ff", times
    /// like 2026-01-31T12:00:00Z, now, durations from now like -7d or 12h, true, false, names of kinds.
    #[command(
        after_help = "Examples:\n  samara records weekly --where 'kind = issue and created > -7d'\n  \
        samara records jobs --where 'attr.state != \"done\" and attr.retries < 3' --json"
    )]
    Records {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Which ones
        #[arg(long = "where", value_name = "EXPR")]
        filter: Option<String>,
        /// With their bodies, base64 (--json)
        #[arg(long)]
        bodies: bool,
    },
    /// Publish a record of an application, or read one.
    #[command(subcommand)]
    Record(RecordCommand),
    /// Tell what happens in a channel, until interrupted: to its records, members and neighbours.
    ///
    /// Records arrive, are replaced or retracted, expire; members join, leave, get another role.
    /// Each event has a cursor, and these are kept (65,536 of them): with --since nothing is missed,
    /// whoever was away.
    ///
    /// Only while one watches it is told that neighbours come, go, or have told all that they have
    /// (synchronized), who is present or absent, and the words of members to this node (`samara
    /// tell`).
    ///
    /// A node may be stopped and started meanwhile: the watcher goes on where it was.
    #[command(after_help = "Example:\n  samara watch jobs --since 1207 --json")]
    Watch {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Cursor of the last event seen, 0 for all that are kept; default: from now on
        #[arg(long, value_name = "CURSOR", value_parser = parse_cursor)]
        since: Option<u64>,
    },
    /// Tell one member of a channel something, and nobody else.
    ///
    /// It goes over the connection of the two and is kept nowhere. It is heard by whoever watches the
    /// channel there (`samara watch --json`, as `words`); if nobody does, this says so.
    #[command(after_help = "Example:\n  echo ping | samara tell jobs 4fzk -")]
    Tell {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Who: the id, or the beginning of a member's
        peer: String,
        /// File with what to tell, at most 4,000 bytes; `-` for standard input
        file: PathBuf,
    },
    /// Write a channel into one signed file: charters, records and, if wanted, contents.
    ///
    /// For where no network goes. Whoever has the file can read all that is in it, also of a private
    /// channel.
    #[command(
        after_help = "Example:\n  samara export weekly /media/usb/weekly.samara --with-content"
    )]
    Export {
        /// Name, id, or the beginning of an id
        channel: String,
        /// File to write; one that is there is replaced when the new one is whole
        file: PathBuf,
        /// With the contents that are whole on this node
        #[arg(long)]
        with_content: bool,
    },
    /// Take in a file that `samara export` wrote.
    ///
    /// It is checked like a peer's words: nothing of a damaged file is used; of a whole one each record
    /// is judged by the channel's rules and each chunk by its hash.
    Import {
        /// The file
        file: PathBuf,
    },
    /// The daemon: seeds, follows subscriptions, serves pages and metrics, until SIGINT or SIGTERM.
    #[command(after_help = "Examples:\n  samara node\n  \
        samara --metrics 0.0.0.0:9421 --http off node\n\n\
        The pages ask for a token; started in a terminal, `node` prints a link that holds it.")]
    Node {
        /// End when the process that started this one ends (Linux)
        #[arg(long)]
        exit_with_parent: bool,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// What this node has, follows and is doing.
    Status,
    /// With whom this node is connected, and what passed between them.
    Peers,
    /// Say what limits a transfer now, and what helps.
    ///
    /// Judged by the last five seconds: what was waited for, and for how long.
    #[command(after_help = "Examples:\n  samara explain product\n  samara explain fe3a9c --json")]
    Explain {
        /// Id of the content or the beginning of it, or its name, as `samara status` shows them; or a
        /// channel, whose newest content is meant
        what: String,
    },
    /// Show and change limits: a change counts at once and is kept over restarts.
    ///
    /// Counted is what passes on the wire, headers included; LAN is loopback, link-local and private
    /// addresses. What is set here goes before the configuration, its hours included.
    #[command(
        after_help = "Examples:\n  samara limit                          what holds, and why\n  \
        samara limit --wan-up 5MB/s --down 20Mbit/s\n  samara limit --channel product --up 1MB/s\n  \
        samara limit --wan-up default         what the configuration says\n  samara limit --leech on"
    )]
    Limit(LimitArgs),
    /// Neither fetch nor serve everything, a channel or a content, until `samara resume`.
    ///
    /// Kept over restarts. Records still come and go: only contents rest.
    #[command(after_help = "Examples:\n  samara pause\n  samara pause product")]
    Pause {
        /// Channel name or id, or content id; the beginning of an id is enough
        what: Option<String>,
    },
    /// Let what was paused go on.
    Resume {
        /// As it was paused; default: everything that is paused
        what: Option<String>,
    },
    /// Find who answers to a name: the nearest member of a channel, or a peer.
    ///
    /// What answers has proved its key. With the channel's id alone, or a link whose addresses are
    /// stale, members are looked for on the local network and in the DHT.
    #[command(
        after_help = "Examples:\n  samara resolve product\n  samara resolve samara:abc... --count 3\n  \
        samara resolve tszocsjwlkn... --scope lan"
    )]
    Resolve {
        /// A link; a channel's name, id or the beginning of an id; or a peer's id
        what: String,
        /// How far away it may be: lan, site or global
        #[arg(long, default_value = "global")]
        scope: Scope,
        /// How many members, nearest first
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=512))]
        count: u32,
    },
    /// Give back disk space that nothing needs.
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Drop a channel or a content from the store; your own files stay.
    Forget {
        /// Channel name or id, or content id; the beginning of an id is enough
        what: String,
    },
    /// Show this node's identity.
    #[command(args_conflicts_with_subcommands = true)]
    Id {
        #[command(subcommand)]
        action: Option<IdCommand>,
    },
    /// Distribute something real between several nodes on this machine, and check all of it.
    ///
    /// Starts a publisher and three subscribers as processes of their own on loopback, in a temporary
    /// folder; publishes PATH and a newsletter issue; shows who gets what from whom; kills the
    /// publisher; lets a late subscriber fetch everything from the others; compares every byte;
    /// leaves nothing behind.
    Demo {
        /// File or folder; default: something of a hundred megabytes that is on this machine
        path: Option<PathBuf>,
    },
}

/// A subscription.
#[derive(Debug, Clone, Args)]
pub(crate) struct Follow {
    /// The link, as `samara link` printed it
    pub(crate) link: String,
    /// Where releases appear
    #[arg(long, value_name = "DIR")]
    pub(crate) into: Option<PathBuf>,
    /// Fetch all that is current, then exit
    #[arg(long, conflicts_with = "wait")]
    pub(crate) once: bool,
    /// Stay and report what arrives, until interrupted
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
}

impl Command {
    /// The limits that were given with it; none for what moves no bytes.
    pub(crate) fn limits(&self) -> LimitFlags {
        match self {
            Self::Share { limits, .. } | Self::Get { limits, .. } | Self::Node { limits, .. } => {
                limits.clone()
            }
            Self::Subscribe { follow } | Self::Mirror { follow, .. } => follow.limits.clone(),
            _ => LimitFlags::default(),
        }
    }
}

/// What a mirror keeps of old releases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepOld {
    /// All of them
    #[default]
    All,
    /// This keeper's share of them
    Share,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ChannelCommand {
    /// Make a lasting channel owned by this node's identity.
    #[command(
        after_help = "Examples:\n  samara channel create product\n  samara channel create club --private && samara invite club"
    )]
    Create {
        /// Display name
        name: String,
        /// Only members may read it, or learn that it exists
        #[arg(long)]
        private: bool,
    },
    /// List the channels that this node holds.
    List,
    /// Show a channel's charter: who may change it, read and publish, within which limits, and all
    /// versions so far.
    Show {
        /// Name, id, or the beginning of an id
        channel: String,
    },
    /// Make a channel's next charter.
    ///
    /// It takes as many roots as the charter in force says, and as many as the new one says. If the
    /// keys of this node are enough, it is in force at once; else a draft is written, for the others
    /// to sign (`samara channel sign`) and for any member to put in force (`samara channel apply`).
    #[command(
        after_help = "Examples:\n  samara channel edit product --lifetime 2y\n  \
        samara channel edit product --add-root ID2 --add-root ID3 --threshold 2 --draft new.charter"
    )]
    Edit {
        /// Name, id, or the beginning of an id
        channel: String,
        #[command(flatten)]
        change: Box<EditArgs>,
        /// Only write a draft, to this file; it must not exist
        #[arg(long, value_name = "FILE")]
        draft: Option<PathBuf>,
    },
    /// Sign a draft of a charter, on any machine: no node need ever have run there.
    ///
    /// Shows what is signed and who else has to. The key is the identity of the data directory, or the
    /// one that --identity names.
    #[command(after_help = "Example:\n  samara --identity root-2 channel sign new.charter")]
    Sign {
        /// The draft
        file: PathBuf,
        /// Only show what it says
        #[arg(long)]
        show: bool,
    },
    /// Put a draft that enough roots have signed in force.
    Apply {
        /// The draft
        file: PathBuf,
    },
    /// Say which of two charters that contradict each other is the right one.
    ///
    /// Both are signed with the roots' keys, so keys may be stolen: ask the owners by another way.
    /// Until then this node takes no newer charter and no release of the channel.
    Choose {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Its hash, or the beginning of it, as `samara channel show` has it
        hash: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum RecordCommand {
    /// Publish a record; prints its id.
    ///
    /// Record and body together have at most 64 KiB: what is larger is content, to be published.
    #[command(
        after_help = "Example:\n  echo hello | samara record put jobs --kind 70000 --key job-7 \\\n    \
        --attr state=text:open --attr retries=int:0 --expires 30d -"
    )]
    Put {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Number of the kind; 65536 or more, your application's choice
        #[arg(long)]
        kind: u32,
        /// What it is about, at most 64 bytes. Who watches is told that a later record of yours of the
        /// same kind and key replaced this one; both are listed until they expire or are retracted
        #[arg(long, default_value = "")]
        key: String,
        /// Attribute to search by, with TYPE bool, int, time, text or bytes; may be given several times
        #[arg(long = "attr", value_name = "NAME=TYPE:VALUE", value_parser = parse_attribute)]
        attributes: Vec<(String, Attribute)>,
        /// How long it lives: 12h, 30d, 1y; default: as long as the channel allows
        #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
        expires: Option<Duration>,
        /// Higher ones are sent first
        #[arg(long, default_value_t = 0)]
        priority: u8,
        /// File with the body, `-` for standard input
        file: PathBuf,
    },
    /// Take back your records of a kind and key, everywhere; prints the id of the retraction.
    #[command(after_help = "Example:\n  samara record retract jobs --kind 70000 --key job-7")]
    Retract {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Number of their kind, 65536 or more
        #[arg(long)]
        kind: u32,
        /// What they are about
        #[arg(long, default_value = "")]
        key: String,
    },
    /// Read a record: its body on standard output, or in a file.
    Get {
        /// Name, id, or the beginning of an id
        channel: String,
        /// Id of the record, or the beginning of it
        record: String,
        /// File that gets the body
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

fn parse_attribute(text: &str) -> Result<(String, Attribute), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=TYPE:VALUE"))?;
    Ok((name.to_owned(), Attribute::parse(value)?))
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum IdCommand {
    /// List the identities of the data directory.
    List,
    /// Make another identity: a root key, say, that signs charters and runs no node.
    #[command(after_help = "Example:\n  samara id create root-2")]
    Create {
        /// Letters, digits, - and _
        name: String,
    },
    /// Say as which identity nodes run here from now on.
    Default {
        /// Name of an identity
        name: String,
    },
    /// Remove an identity for good; not the one in use.
    Delete {
        /// Name of an identity
        name: String,
    },
    /// Write an identity, encrypted with a password, to a file.
    ///
    /// Who holds the file and the password can publish as you. One identity on two machines at a
    /// time makes two records with one number, and both lose trust: use it for backups and moves.
    Export {
        /// File to write; must not exist
        file: PathBuf,
        /// Name of an identity; default: the one that nodes run as here
        name: Option<String>,
        /// Read the password from the first line of this file instead of asking
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Take the identity of a file.
    Import {
        /// File to read
        file: PathBuf,
        /// Name to keep it under; default: that of the one that nodes run as here
        name: Option<String>,
        /// Replace another identity of that name, which is kept beside
        #[arg(long)]
        force: bool,
        /// Read the password from the first line of this file instead of asking
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests;
