//! Whom a node serves first.

use std::str::FromStr;

use samara_swarm::Policy;
use serde::{Deserialize, Serialize};

/// Whose download is to be done soonest, as far as it is for the node that serves to say.
/// One for all contents: they share its uplink and its upload slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadPolicy {
    /// The last peer's: whoever has least is served first, and all are done at about the
    /// same time.
    #[default]
    Last,
    /// Peers' on average: whoever has most is served first, so that one after the other
    /// is done.
    Average,
}

impl UploadPolicy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Last, Self::Average];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Average => "average",
        }
    }
}

impl FromStr for UploadPolicy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| "neither `last` nor `average`".to_owned())
    }
}

impl From<UploadPolicy> for Policy {
    fn from(policy: UploadPolicy) -> Self {
        match policy {
            UploadPolicy::Last => Self::LastPeer,
            UploadPolicy::Average => Self::Average,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_they_are_named() {
        for policy in UploadPolicy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(text, format!("\"{}\"", policy.name()));
        }
        assert!("first".parse::<UploadPolicy>().is_err());
        assert_eq!(Policy::from(UploadPolicy::default()), Policy::default());
    }
}
