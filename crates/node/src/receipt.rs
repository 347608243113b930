//! What requests did that must not be done twice. The asker names such a request,
//! and what came of it is kept under that name, in one commit with the deed itself:
//! so who asks again, since the process that it asked was killed, is told what
//! happened instead of having it happen once more.

use std::time::Duration;

use samara_store::{Batch, Store};
use samara_wire::RecordId;
use serde::{Deserialize, Serialize};

use crate::{
    EngineError,
    api::{ErrorKind, Event, Request},
    core::wall_ms,
    identity,
};

/// Where receipts are kept in the store.
const RECEIPT_SETTINGS: &str = "receipt";
/// How long an asker has to come back.
const KEPT: Duration = Duration::from_secs(3600);
/// Longest name of a request, in bytes.
const MAX_NAME: usize = 64;

/// A request, and the name under which the asker would ask again.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// 1 to 64 letters, digits and hyphens that no other request has.
    pub name: Option<String>,
    /// How long to wait for peers, to the millisecond; none: as long as the node is
    /// set to.
    pub patience: Option<Duration>,
    /// What is to be done.
    pub request: Request,
}

impl Asked {
    /// A request under a fresh name, if it is one that must not be done twice.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new(request: Request) -> Result<Self, EngineError> {
        let name = match request.is_done_once() {
            true => {
                let mut bytes = [0; 16];
                identity::random(&mut bytes)?;
                Some(format!("{:032x}", u128::from_le_bytes(bytes)))
            }
            false => None,
        };
        Ok(Self {
            name,
            patience: None,
            request,
        })
    }

    /// As it travels: the request's JSON, with `request_id` and `timeout_ms` in it.
    pub(crate) fn to_line(&self) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(&self.request)?;
        if let Some(fields) = value.as_object_mut() {
            let name = self.name.as_deref();
            fields.extend(name.map(|name| (NAME_FIELD.into(), name.into())));
            let patience = self.patience.map(|p| (p.as_millis() as u64).max(1));
            fields.extend(patience.map(|ms| (PATIENCE_FIELD.into(), ms.into())));
        }
        let mut line = value.to_string();
        line.push('\n');
        Ok(line)
    }

    /// Reads what [`to_line`](Self::to_line) wrote.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let mut value: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let mut take = |field| {
            value
                .as_object_mut()
                .and_then(|fields| fields.remove(field))
        };
        let patience = match take(PATIENCE_FIELD) {
            None => None,
            Some(ms) => {
                let ms = ms.as_u64().filter(|ms| (1..=MAX_PATIENCE_MS).contains(ms));
                let wrong = || format!("{PATIENCE_FIELD} is 1 to {MAX_PATIENCE_MS}");
                Some(Duration::from_millis(ms.ok_or_else(wrong)?))
            }
        };
        let name = match take(NAME_FIELD) {
            None => None,
            Some(name) => Some(
                name.as_str()
                    .filter(|name| is_name(name))
                    .ok_or_else(|| {
                        format!("{NAME_FIELD} has 1 to {MAX_NAME} letters, digits and hyphens")
                    })?
                    .to_owned(),
            ),
        };
        let request = serde_json::from_value(value).map_err(|e| e.to_string())?;
        Ok(Self {
            name,
            patience,
            request,
        })
    }
}

const NAME_FIELD: &str = "request_id";
const PATIENCE_FIELD: &str = "timeout_ms";
/// A year.
const MAX_PATIENCE_MS: u64 = 365 * 24 * 3_600_000;

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// What is kept of a request that is about to be done.
#[derive(Default)]
pub(crate) struct Receipt {
    answer: Option<Answer>,
    mark: Option<(&'static str, Vec<u8>)>,
}

struct Answer {
    name: String,
    event: Box<dyn FnOnce(RecordId) -> Event + Send>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    at_ms: u64,
    event: Event,
}

impl Receipt {
    /// For the request of a name, whose answer `event` makes of the record.
    pub(crate) fn new(
        name: String,
        event: impl FnOnce(RecordId) -> Event + Send + 'static,
    ) -> Self {
        let answer = Answer {
            name,
            event: Box::new(event),
        };
        Self {
            answer: Some(answer),
            mark: None,
        }
    }

    /// Has an empty setting kept as well, for ever.
    pub(crate) fn with_mark(self, space: &'static str, key: Vec<u8>) -> Self {
        Self {
            mark: Some((space, key)),
            ..self
        }
    }

    /// Becomes durable with the batch.
    pub(crate) fn put(self, batch: &mut Batch, record: RecordId) {
        if let Some(answer) = self.answer {
            put(batch, &answer.name, (answer.event)(record));
        }
        if let Some((space, key)) = self.mark {
            batch.put_setting(space, &key, b"");
        }
    }
}

/// Keeps the answer of the request of a name.
pub(crate) fn put(batch: &mut Batch, name: &str, event: Event) {
    let kept = Kept {
        at_ms: wall_ms(),
        event,
    };
    let value = serde_json::to_vec(&kept).expect("an event is plain data");
    batch.put_setting(RECEIPT_SETTINGS, name.as_bytes(), &value);
}

/// The answer that the request of a name has had. Blocks.
pub(crate) fn find(store: &Store, name: &str) -> Result<Option<Event>, EngineError> {
    let Some(value) = store.setting(RECEIPT_SETTINGS, name.as_bytes())? else {
        return Ok(None);
    };
    let kept: Kept = serde_json::from_slice(&value).map_err(|e| {
        EngineError::new(
            ErrorKind::Disk,
            format!("a receipt does not read back: {e}"),
        )
    })?;
    Ok(Some(kept.event))
}

/// Removes receipts that nobody comes back for. Blocks.
pub(crate) fn prune(store: &Store) -> Result<(), EngineError> {
    let now = wall_ms();
    let mut batch = Batch::new();
    for (name, value) in store.settings(RECEIPT_SETTINGS)? {
        let fresh = serde_json::from_slice::<Kept>(&value)
            .is_ok_and(|kept| now.abs_diff(kept.at_ms) < KEPT.as_millis() as u64);
        if !fresh {
            batch.remove_setting(RECEIPT_SETTINGS, &name);
        }
    }
    if !batch.is_empty() {
        store.write(batch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create() -> Request {
        Request::ChannelCreate {
            name: "n".into(),
            private: false,
        }
    }

    #[test]
    fn a_name_travels_beside_the_request() {
        let mut asked = Asked::new(create()).unwrap();
        asked.patience = Some(Duration::from_millis(1_500));
        assert!(asked.name.as_deref().is_some_and(is_name));
        assert_eq!(Asked::parse(&asked.to_line().unwrap()), Ok(asked));
        let plain = Asked::new(Request::Status).unwrap();
        assert_eq!(plain.name, None);
        assert_eq!(Asked::parse(r#"{"command":"status"}"#), Ok(plain));
        for bad in [
            r#"{"command":"status","request_id":7}"#,
            r#"{"command":"status","request_id":""}"#,
            r#"{"command":"status","request_id":"a/b"}"#,
            r#"{"command":"status","timeout_ms":0}"#,
            r#"{"command":"status","timeout_ms":"7"}"#,
            "[]",
        ] {
            assert!(Asked::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn receipts_are_kept_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Default::default()).unwrap();
        let event = Event::Link {
            link: "l".into(),
            invitation: None,
        };
        let mut batch = Batch::new();
        put(&mut batch, "fresh", event.clone());
        let old = Kept {
            at_ms: 1,
            event: event.clone(),
        };
        batch.put_setting(RECEIPT_SETTINGS, b"old", &serde_json::to_vec(&old).unwrap());
        store.write(batch).unwrap();
        prune(&store).unwrap();
        assert_eq!(find(&store, "fresh").unwrap(), Some(event));
        assert_eq!(find(&store, "old").unwrap(), None);
    }
}
