//! What comes first when there is more to fetch than the link carries.

use std::str::FromStr;

use samara_graph::{Attributes, Value};
use serde::{Deserialize, Serialize};

/// Name of the attribute in which a record says it; its value is the name, as text.
const ATTRIBUTE: &str = "priority";
/// With this priority the record itself goes before others'.
const URGENT_RECORD: u8 = 200;

/// How urgent a release is. Nothing of it is fetched while anything of a more urgent one
/// is on its way, and it is served after that.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When there is nothing else to do.
    Bulk,
    /// As everything is that nobody said anything of.
    #[default]
    Normal,
    /// Before everything else.
    Urgent,
}

impl Priority {
    /// All, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }

    /// The swarm's number for it.
    pub(crate) fn level(self) -> u8 {
        self as u8
    }

    /// What a record's attributes say; normal, if nothing that is known here.
    pub(crate) fn of(attributes: &Attributes) -> Self {
        match attributes.get(ATTRIBUTE) {
            Some(Value::Text(name)) => name.parse().unwrap_or_default(),
            _ => Self::default(),
        }
    }

    /// What a record says of it, and how much it hurries itself. Nothing, if it is normal:
    /// such a record is as it always was.
    pub(crate) fn said(self) -> (Attributes, u8) {
        if self == Self::Normal {
            return (Attributes::default(), 0);
        }
        let value = Value::Text(self.name().into());
        let attributes = Attributes::new([(ATTRIBUTE.to_owned(), value)]);
        let hurry = match self {
            Self::Urgent => URGENT_RECORD,
            _ => 0,
        };
        (attributes.expect("a valid name and a short value"), hurry)
    }
}

impl FromStr for Priority {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.name() == text)
            .ok_or_else(|| "neither `urgent`, `normal` nor `bulk`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_it_was_published_as() {
        for priority in Priority::ALL {
            let (attributes, _) = priority.said();
            assert_eq!(Priority::of(&attributes), priority);
            assert_eq!(priority.name().parse(), Ok(priority));
        }
        let (attributes, hurry) = Priority::Normal.said();
        assert!(
            attributes.is_empty() && hurry == 0,
            "as records were before"
        );
        assert!(Priority::Urgent.said().1 > Priority::Bulk.said().1);
    }

    #[test]
    fn words_of_others_are_no_priority() {
        let said = |value| Attributes::new([("priority".to_owned(), value)]).unwrap();
        for value in [
            Value::Text("yesterday".into()),
            Value::Int(9),
            Value::Bool(true),
        ] {
            assert_eq!(Priority::of(&said(value)), Priority::Normal);
        }
        assert!(Priority::Bulk < Priority::Normal && Priority::Normal < Priority::Urgent);
        assert_eq!(Priority::Bulk.level(), 0);
    }
}
