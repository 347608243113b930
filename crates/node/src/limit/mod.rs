//! How much this node may send and receive: what the configuration and people's orders
//! say, what holds now, and how it is enforced.
//!
//! Counted is what passes on the wire: whole IP packets of the connections with other
//! nodes. Who sends chunks pays for them before they are handed to the transport; who
//! fetches, before it reads them, so that QUIC's flow control holds the sender back; and it
//! asks for no more than comes in soon, for what was asked for comes as fast as the sender
//! likes where flow control let it before. What
//! the connections' statistics show beyond that (headers, acknowledgements, manifests,
//! records, what was sent again) is paid for with the next chunks.

mod bucket;
mod hours;
mod lanes;
mod orders;
mod pacer;
mod policy;
mod ruling;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use hours::{Days, Hours, TimeOfDay};
pub(crate) use lanes::{Asking, Lane, Meter, Shapers};
pub(crate) use orders::{MAX_NAMED, Orders};
pub use policy::UploadPolicy;
pub(crate) use ruling::{Held, Ruling, Why, local_time};

/// What is limited: a direction, everywhere or on one side of the line between the local
/// network and the rest of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// All that is sent.
    Up,
    /// All that is received.
    Down,
    /// What is sent beyond the local network.
    WanUp,
    /// What is received from beyond it.
    WanDown,
    /// What is sent within the local network.
    LanUp,
    /// What is received from within it.
    LanDown,
}

impl Line {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Up,
        Self::Down,
        Self::WanUp,
        Self::WanDown,
        Self::LanUp,
        Self::LanDown,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::WanUp => "wan_up",
            Self::WanDown => "wan_down",
            Self::LanUp => "lan_up",
            Self::LanDown => "lan_down",
        }
    }
}

/// A rate, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Cap {
    /// No limit.
    Off,
    /// Bytes a second, at least [`LEAST_RATE`].
    At(u64),
}

/// The lowest limit, in bytes a second: whoever wants less wants a pause.
pub const LEAST_RATE: u64 = 1024;

impl Cap {
    /// Bytes a second, if there is a limit.
    pub fn rate(self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::At(rate) => Some(rate),
        }
    }
}

impl TryFrom<u64> for Cap {
    type Error = String;
    fn try_from(rate: u64) -> Result<Self, String> {
        match rate {
            LEAST_RATE.. => Ok(Self::At(rate)),
            _ => Err(format!(
                "{rate} bytes a second are too little: at least {LEAST_RATE}, or \"off\" for no limit; `samara pause` stops everything"
            )),
        }
    }
}

/// A number, or "off".
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Rate(u64),
    Word(String),
}

impl TryFrom<Written> for Cap {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Rate(rate) => rate.try_into(),
            Written::Word(word) if word == "off" => Ok(Self::Off),
            Written::Word(word) => Err(format!("`{word}` is neither a number nor \"off\"")),
        }
    }
}

impl From<Cap> for Written {
    fn from(cap: Cap) -> Self {
        match cap {
            Cap::Off => Self::Word("off".to_owned()),
            Cap::At(rate) => Self::Rate(rate),
        }
    }
}

/// What somebody said of some of the lines.
pub type Rates = BTreeMap<Line, Cap>;

/// What the configuration says of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Within those of the node.
    pub rates: Rates,
    /// Others at some hours: the first that holds and names a line counts.
    pub hours: Vec<Hours>,
}

/// What the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitConfig {
    /// Limits of the whole node.
    pub rates: Rates,
    /// Others at some hours: the first that holds and names a line counts.
    pub hours: Vec<Hours>,
    /// Limits of channels, by name or id.
    pub channels: BTreeMap<String, ChannelLimits>,
    /// What holds where nobody said anything.
    pub defaults: Rates,
    /// Fetch and never serve.
    pub leech: bool,
    /// No connections beyond the local network.
    pub no_wan: bool,
    /// Connections at once; `None`, or more: as many as there can be.
    pub max_connections: Option<usize>,
    /// Peers served at once, at least 1; `None`: what the swarm does best with.
    pub upload_slots: Option<usize>,
    /// Whom to serve first; `None`: as the default of [`UploadPolicy`].
    pub upload_policy: Option<UploadPolicy>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_are_numbers_or_off() {
        let rates: Rates = serde_json::from_str(r#"{"up":5000,"wan_down":"off"}"#).unwrap();
        assert_eq!(rates[&Line::Up], Cap::At(5000));
        assert_eq!(rates[&Line::WanDown], Cap::Off);
        let text = serde_json::to_string(&rates).unwrap();
        assert_eq!(text, r#"{"up":5000,"wan_down":"off"}"#);
        for bad in [
            r#"{"up":0}"#,
            r#"{"up":1023}"#,
            r#"{"up":"slow"}"#,
            r#"{"upp":5000}"#,
        ] {
            assert!(serde_json::from_str::<Rates>(bad).is_err(), "{bad}");
        }
        assert_eq!(Cap::try_from(LEAST_RATE), Ok(Cap::At(LEAST_RATE)));
    }

    #[test]
    fn lines_are_written_as_they_are_named() {
        for line in Line::ALL {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(text, format!("\"{}\"", line.name()));
        }
    }
}
