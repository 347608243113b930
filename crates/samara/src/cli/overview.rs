//! What `samara --help` prints around the options.

/// The overview. Groups are by who needs the commands; a test holds it complete.
pub(super) const OVERVIEW: &str = "\
{about}

{usage-heading} {usage}

Move files now:
  share         Share a file or folder; prints a link and serves until interrupted
  ls            List what a link leads to, before anything is fetched
  get           Fetch what a link leads to, verified, into a directory

Follow what others publish:
  subscribe     Follow a channel: releases are installed, issues arrive
  unsubscribe   Stop following a channel
  read          List and show newsletter issues
  mirror        Keep and serve everything a channel has, as a second seeder

Publish:
  channel       Create and list channels; show and change their charters
  link          Print a channel's link, with this node as the way in
  publish       Publish a release of a file or folder
  unpublish     Take a release back
  post          Post a newsletter issue

Decide who belongs to a channel:
  invite        Make a link that admits its bearer
  join          Join a channel by an invitation
  members       List who belongs to a channel
  role          Give somebody a role
  revoke        Take somebody's rights for good
  leave         Stop belonging to a channel on this node

For programs of your own:
  records       List a channel's records, and search them
  record        Publish a record of an application, or read one
  watch         Tell what happens in a channel, also since one was away
  tell          Tell one member something, and nobody else

Carry a channel on a disk:
  export        Write a channel into one signed file
  import        Take such a file in

Run a node:
  node          The daemon: seeds, follows subscriptions, serves pages and metrics
  status        What this node has, follows and is doing
  peers         With whom it is connected
  explain       Say why a transfer is not faster, and what helps
  limit         Show and change how much is sent and received, at once and for good
  pause         Stop fetching and serving, everything or one thing, until resumed
  resume        Go on
  resolve       Find who answers to a channel's or a peer's name
  gc            Give disk space back
  forget        Drop a channel or a content from the store
  id            Show this node's identity; keep several, export and import them

See it work:
  demo          Distribute something real between several nodes on this machine
  help          Explain a command

Options:
{options}{after-help}";

/// What stands below it.
pub(super) const OVERVIEW_END: &str = "\
Every option can also be given by the environment (SAMARA_DATA_DIR, SAMARA_LISTEN, ...) or in
a TOML file, by default config.toml in the data directory. An option goes before the
environment, the environment before the file, the file before the default. Keys of the file:
  data_dir identity listen http metrics site timeout quota keep_releases
                                 as the options of the same name
  wan_upload = \"2.5 MB/s\"        what `samara node` sends beyond the local network; \"off\": no cap
  [limits]                       up, down, wan_up, wan_down, lan_up, lan_down = \"5 MB/s\" or \"off\";
                                 leech, no_wan, max_connections, upload_slots,
                                 upload_policy = \"last\" or \"average\"
  [[limits.hours]]               other rates at some hours: days = \"mon-fri\", from, to = \"18:00\"
  [limits.channel.NAME]          rates of a channel; at some hours: [[limits.channel.NAME.hours]]
  http_allowed_hosts = [\"name\"]  Host headers taken besides localhost and the address listened on
  threads = 0                    threads that hash; 0: one a core
  external = [\"192.0.2.1:7421\"] addresses from outside, as --external
  [discovery]                    how others are found: mdns, dht, port_mapping = true or false,
                                 dht_bootstrap = [\"host:port\"]

Examples:
  samara share holiday-photos/
  samara get samara:abc... -o ~/Downloads
  samara subscribe samara:abc... --into /opt/product && samara node";
