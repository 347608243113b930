//! Charters for people.

use samara_node::api::{CharterView, DraftView, Event, Terms};

use crate::{
    quantity::{count, size, span},
    terminal::{Style, line},
};

/// A channel's charters.
pub(super) fn charter_text(view: &CharterView, style: Style) -> String {
    let mut text = format!("{}\n", terms_text(&view.terms, style));
    if let Some(fork) = &view.fork {
        text += &format!(
            "\n{}\nThe roots' keys signed another charter of version {}. Keys may be stolen: ask the owners by another way,\nthen say which one is right with `samara channel choose`. Until then no newer charter and no release is taken.\nhere       {}\nelsewhere  {}, signed by {}\n{}\n",
            style.bold("TWO CHARTERS CONTRADICT EACH OTHER"),
            fork.theirs.version,
            line(&fork.ours),
            line(&fork.theirs.hash),
            names(&fork.signers),
            indented(&terms_text(&fork.theirs, style)),
        );
    }
    text += &format!("\n{}\n", style.dim("VERSIONS"));
    for version in &view.versions {
        text += &format!(
            "{:>3}  {}  {}  signed by {}\n",
            version.version,
            line(version.created.get(..10).unwrap_or(&version.created)),
            line(&version.hash),
            names(&version.signers)
        );
    }
    text.trim_end().to_owned()
}

/// The draft of a charter: what changes, and who has to sign.
pub(crate) fn draft_text(event: &Event, style: Style) -> String {
    let Event::CharterDraft(draft) = event else {
        return String::new();
    };
    let mut text = format!(
        "Charter {} of {}, {}\n",
        draft.terms.version,
        style.bold(line(&draft.terms.name)),
        line(&draft.terms.hash)
    );
    for change in &draft.changes {
        let said = match (&change.from, &change.to) {
            (Some(from), Some(to)) => format!("{}: {} -> {}", change.term, from, to),
            (Some(from), None) => format!("- {}: {from}", change.term),
            (None, Some(to)) => format!("+ {}: {to}", change.term),
            (None, None) => change.term.clone(),
        };
        text += &format!("  {}\n", line(&said));
    }
    if draft.changes.is_empty() {
        text += &format!("{}\n", indented(&terms_text(&draft.terms, style)));
    }
    for signer in &draft.signers {
        text += &format!("{}    {}\n", style.good("signed"), line(signer));
    }
    for root in &draft.unsigned {
        text += &format!("{}  {}\n", style.dim("unsigned"), line(root));
    }
    text + &next_step(draft)
}

fn next_step(draft: &DraftView) -> String {
    let file = draft.file.to_string_lossy();
    match draft.missing {
        0 => format!(
            "Enough have signed. Put it in force with: samara channel apply {}",
            line(&file)
        ),
        missing => format!(
            "It takes {}. Each root signs with: samara channel sign {}",
            count(
                missing.into(),
                "more signature at least",
                "more signatures at least"
            ),
            line(&file)
        ),
    }
}

fn terms_text(terms: &Terms, style: Style) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    rows.push(("name", terms.name.clone()));
    rows.push(("version", format!("{}, {}", terms.version, terms.created)));
    rows.push(("hash", terms.hash.clone()));
    rows.extend(people("roots", &terms.roots));
    rows.extend(people("admins", &terms.admins));
    rows.push((
        "threshold",
        match terms.threshold {
            1 => "1: each root is an owner".to_owned(),
            n => format!("{n} of {}", terms.roots.len()),
        },
    ));
    rows.push(("readers", terms.readers.clone()));
    if terms.publishers == "members" {
        rows.push(("publishers", "all members".to_owned()));
    }
    rows.extend(people("publishers", &terms.named_publishers));
    let former = terms.former.iter();
    let former: Vec<_> = former
        .map(|f| {
            let kept = count(f.kept as u64, "record stays", "records stay");
            format!("{} {}: {kept}", f.role, f.peer_id)
        })
        .collect();
    rows.extend(people("former", &former));
    rows.push((
        "records",
        format!(
            "{} each, {} of an author, {} in all, living up to {}",
            size(terms.record_bytes.into()),
            terms.records_per_author,
            terms.records_total,
            span(terms.lifetime)
        ),
    ));
    if let Some(bytes) = terms.chunk_bytes {
        rows.push(("chunks", size(bytes.into())));
    }
    let presence = terms.presence.map(span);
    rows.push((
        "presence",
        presence.map_or("off".into(), |lease| format!("leases up to {lease}")),
    ));
    let on = |is| if is { "on" } else { "off" }.to_owned();
    rows.push(("deferred", on(terms.deferred_expiry)));
    rows.push(("announced", on(terms.announced)));
    let rows = rows.into_iter();
    let lines: Vec<_> = rows
        .map(|(label, value)| format!("{}  {}", style.dim(format!("{label:<10}")), line(&value)))
        .collect();
    lines.join("\n")
}

/// A row for each, the first one with a label.
fn people<'a>(label: &'a str, list: &'a [String]) -> impl Iterator<Item = (&'a str, String)> {
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    labels.zip(list.iter().cloned())
}

fn names(peers: &[String]) -> String {
    let short = peers.iter().map(|p| line(p.get(..12).unwrap_or(p)));
    short.collect::<Vec<_>>().join(", ")
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|l| format!("  {l}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            version: 2,
            hash: "h2".into(),
            created: "2026-01-01T00:00:00Z".into(),
            name: "evil\u{1b}[2J".into(),
            roots: vec!["root-one".into(), "root-two".into()],
            threshold: 2,
            admins: vec![],
            former: vec![],
            readers: "members".into(),
            publishers: "named".into(),
            named_publishers: vec!["somebody".into()],
            record_bytes: 65_536,
            records_per_author: 7,
            records_total: 9,
            lifetime: 86_400,
            chunk_bytes: None,
            presence: None,
            deferred_expiry: false,
            announced: true,
        }
    }

    #[test]
    fn a_charter_says_who_decides_and_a_fork_is_loud() {
        let mut view = CharterView {
            channel: "c".into(),
            terms: terms(),
            versions: vec![],
            fork: None,
        };
        let text = charter_text(&view, Style::PLAIN);
        assert!(text.contains("threshold   2 of 2"), "{text}");
        assert!(!text.contains("CONTRADICT") && !text.contains('\u{1b}'));
        view.fork = Some(samara_node::api::ForkView {
            ours: "h2".into(),
            theirs: Terms {
                hash: "h3".into(),
                ..terms()
            },
            signers: vec!["root-one".into()],
        });
        let text = charter_text(&view, Style::PLAIN);
        assert!(
            text.contains("CONTRADICT") && text.contains("elsewhere  h3"),
            "{text}"
        );
    }
}
