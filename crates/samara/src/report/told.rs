use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io,
};

use samara_node::api::Event;

use super::Report;

/// A report that tells results once, also when the request is carried out anew.
pub(crate) struct Told {
    report: Box<dyn Report>,
    /// Whether what is told now may come again.
    repeatable: bool,
    /// How often each result was told.
    told: HashMap<u64, u32>,
    /// How often each of them may still come again.
    again: HashMap<u64, u32>,
    finished: bool,
}

impl Told {
    pub(crate) fn new(report: Box<dyn Report>) -> Self {
        Self {
            report,
            repeatable: false,
            told: HashMap::new(),
            again: HashMap::new(),
            finished: false,
        }
    }

    /// Whether the process that carries the request out may leave it to another.
    pub(crate) fn may_repeat(&mut self, repeatable: bool) {
        self.repeatable = repeatable;
    }

    /// The request starts again.
    pub(crate) fn repeat(&mut self) {
        self.again = self.told.clone();
    }
}

impl Report for Told {
    fn is_unread(&self) -> bool {
        self.report.is_unread()
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(key) = key(event).filter(|_| self.repeatable || !self.again.is_empty()) else {
            return self.report.event(event);
        };
        if let Some(left) = self.again.get_mut(&key).filter(|left| **left > 0) {
            *left -= 1;
            return Ok(());
        }
        *self.told.entry(key).or_default() += 1;
        self.report.event(event)
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.finished {
            return Ok(());
        }
        self.report.finish()?;
        self.finished = true;
        Ok(())
    }
}

/// What makes two results the same; `None` for what only tells how things stand.
fn key(event: &Event) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    match event {
        Event::Importing { .. } | Event::Progress { .. } | Event::Waiting { .. } => return None,
        // A watcher goes on behind the last cursor: nothing comes twice.
        Event::Change { .. } => return None,
        // Seconds and sources differ each time.
        Event::Complete { content, path, .. } => ("complete", content, path).hash(&mut hasher),
        Event::Status(_) => "status".hash(&mut hasher),
        other => serde_json::to_string(other).ok()?.hash(&mut hasher),
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    struct Kept(Rc<RefCell<Vec<Event>>>);

    impl Report for Kept {
        fn event(&mut self, event: &Event) -> io::Result<()> {
            self.0.borrow_mut().push(event.clone());
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn link(link: &str) -> Event {
        Event::Link {
            link: link.into(),
            invitation: None,
        }
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let kept = Rc::new(RefCell::new(Vec::new()));
        let mut told = Told::new(Box::new(Kept(kept.clone())));
        told.may_repeat(true);
        let waiting = Event::Waiting { what: "x".into() };
        // A watcher goes on behind the last one.
        let change = Event::Change {
            channel: "c".into(),
            cursor: 1,
            at: None,
            change: samara_node::api::Change::Watching,
        };
        for event in [link("a"), link("a"), waiting.clone(), change.clone()] {
            told.event(&event).unwrap();
        }
        told.repeat();
        told.may_repeat(false);
        // Two alike are two; the third is news, and so is what was not told.
        let again = [link("a"), waiting.clone(), link("a"), link("a")];
        for event in again.into_iter().chain([change.clone(), link("b")]) {
            told.event(&event).unwrap();
        }
        let expected = [
            link("a"),
            link("a"),
            waiting.clone(),
            change.clone(),
            waiting,
            link("a"),
            change,
            link("b"),
        ];
        assert_eq!(*kept.borrow(), expected);
    }
}
