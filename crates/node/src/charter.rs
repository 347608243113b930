//! Charters as people see them, and signing one where no node runs.

use std::{
    collections::BTreeSet,
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use ed25519_dalek::SigningKey;
use samara_graph::{
    Charter, CharterDraft, CharterRef, Graph, Publishers, Readers, SecretKey, SignedCharter, limits,
};
use samara_wire::PeerId;

use crate::{
    EngineError,
    api::{
        CharterVersion, CharterView, DraftView, ErrorKind, ForkView, FormerView, TermChange, Terms,
    },
    rfc3339,
};

/// Largest draft: two charters, and what is around them.
const MAX_DRAFT_BYTES: u64 = 2 * limits::MAX_CHARTER_BYTES as u64 + 64;

/// Adds a signature to the draft in a file; needs no node, and no network. Signed by
/// that key already, it stays as it is.
///
/// # Errors
/// [`ErrorKind::Denied`] if the key is no root of this charter nor of the one before;
/// [`ErrorKind::Usage`] if the file is no draft; of the disk.
pub fn sign_draft(file: &Path, key: &SigningKey) -> Result<DraftView, EngineError> {
    let mut draft = read_draft(file)?;
    let key = SecretKey::from_bytes(key.as_bytes());
    draft
        .add_signature(&key)
        .map_err(|e| EngineError::new(ErrorKind::Denied, e.to_string()))?;
    write_draft(file, &draft, true)?;
    Ok(draft_view(file, &draft))
}

/// What is in a draft's file.
///
/// # Errors
/// As [`sign_draft`].
pub fn show_draft(file: &Path) -> Result<DraftView, EngineError> {
    Ok(draft_view(file, &read_draft(file)?))
}

pub(crate) fn read_draft(file: &Path) -> Result<CharterDraft, EngineError> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|f| f.take(MAX_DRAFT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                EngineError::new(ErrorKind::NotFound, format!("{}: {error}", file.display()))
            }
            _ => EngineError::disk(file, &error),
        })?;
    CharterDraft::decode(&bytes).map_err(|error| {
        EngineError::new(
            ErrorKind::Usage,
            format!("{}: no draft of a charter: {error}", file.display()),
        )
    })
}

/// Writes beside, syncs, renames. Only `replace` writes over a file.
pub(crate) fn write_draft(
    file: &Path,
    draft: &CharterDraft,
    replace: bool,
) -> Result<(), EngineError> {
    let disk = |error: std::io::Error| EngineError::disk(file, &error);
    if !replace {
        let made = OpenOptions::new().write(true).create_new(true).open(file);
        made.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => EngineError::new(
                ErrorKind::Exists,
                format!(
                    "{} exists already and is not written over; remove it, or name another file with --draft",
                    file.display()
                ),
            ),
            _ => disk(error),
        })?;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = file.with_file_name(name);
    let write = || {
        let mut out = File::create(&fresh)?;
        out.write_all(&draft.encode())?;
        out.sync_all()?;
        fs::rename(&fresh, file)
    };
    write().map_err(disk)
}

/// The charters of a channel, once they are here.
pub(crate) fn view(graph: &Graph) -> Option<CharterView> {
    let chain = graph.charters()?;
    let version = |signed: &SignedCharter| CharterVersion {
        version: signed.reference().version,
        hash: signed.reference().hash.to_string(),
        created: rfc3339::format(signed.charter().created.0),
        signers: texts(signed.signers()),
    };
    Some(CharterView {
        channel: chain.channel().to_string(),
        terms: terms(chain.current(), chain.reference()),
        versions: chain.versions().iter().map(version).collect(),
        fork: graph.fork().map(|fork| ForkView {
            ours: fork.ours.hash.to_string(),
            theirs: terms(fork.theirs.charter(), fork.theirs.reference()),
            signers: texts(fork.theirs.signers()),
        }),
    })
}

fn terms(charter: &Charter, reference: CharterRef) -> Terms {
    let seconds = |ms: u64| ms.div_ceil(1000);
    let former = charter.former.iter().flat_map(|(peer, former)| {
        let lists = former.lists().into_iter();
        let some = lists.filter(|(_, kept)| !kept.is_empty());
        some.map(|(role, kept)| FormerView {
            peer_id: peer.to_string(),
            role: role.to_string(),
            kept: kept.len(),
        })
    });
    let (publishers, named) = match &charter.publishers {
        Publishers::Named(list) => ("named", texts(list)),
        Publishers::Members => ("members", Vec::new()),
    };
    Terms {
        version: reference.version,
        hash: reference.hash.to_string(),
        created: rfc3339::format(charter.created.0),
        name: charter.name.clone(),
        roots: texts(&charter.roots),
        threshold: charter.threshold,
        admins: texts(&charter.admins),
        former: former.collect(),
        readers: match charter.readers {
            Readers::Everyone => "everyone",
            Readers::Members => "members",
        }
        .to_owned(),
        publishers: publishers.to_owned(),
        named_publishers: named,
        record_bytes: charter.limits.record_bytes,
        records_per_author: charter.limits.records_per_author,
        records_total: charter.limits.records_total,
        lifetime: seconds(charter.limits.lifetime_ms),
        chunk_bytes: charter.chunk_bits.map(|bits| 1 << bits),
        presence: charter.presence_ms.map(seconds),
        deferred_expiry: charter.deferred_expiry,
        announced: charter.announced,
    }
}

fn texts<'a>(peers: impl IntoIterator<Item = &'a PeerId>) -> Vec<String> {
    peers.into_iter().map(ToString::to_string).collect()
}

pub(crate) fn draft_view(file: &Path, draft: &CharterDraft) -> DraftView {
    let signers: BTreeSet<PeerId> = draft.signers().copied().collect();
    let new = draft.charter();
    DraftView {
        file: file.to_owned(),
        channel: None,
        terms: terms(new, draft.reference()),
        changes: draft
            .previous()
            .map(|old| changes(old, new))
            .unwrap_or_default(),
        signers: texts(&signers),
        unsigned: texts(&draft.unsigned()),
        missing: missing(draft.previous(), new, &signers),
    }
}

/// How many more signatures it takes at least: a root of both charters counts twice.
fn missing(old: Option<&Charter>, new: &Charter, signers: &BTreeSet<PeerId>) -> u32 {
    let lacks = |charter: &Charter| {
        let signed = charter.roots.intersection(signers).count();
        usize::from(charter.threshold).saturating_sub(signed)
    };
    let (before, after) = (old.map_or(0, lacks), lacks(new));
    let of_both = old.map_or(0, |old| {
        let both = old.roots.intersection(&new.roots);
        both.filter(|root| !signers.contains(*root)).count()
    });
    (before + after - of_both.min(before).min(after)) as u32
}

/// In what two charters differ, for people.
fn changes(old: &Charter, new: &Charter) -> Vec<TermChange> {
    let mut all = Vec::new();
    let mut differs = |term: &str, from: &dyn Display, to: &dyn Display| {
        let (from, to) = (from.to_string(), to.to_string());
        if from != to {
            all.push(TermChange {
                term: term.to_owned(),
                from: Some(from),
                to: Some(to),
            });
        }
    };
    differs("name", &old.name, &new.name);
    differs("threshold", &old.threshold, &new.threshold);
    let readers = |c: &Charter| match c.readers {
        Readers::Everyone => "everyone",
        Readers::Members => "members",
    };
    differs("readers", &readers(old), &readers(new));
    let publishers = |c: &Charter| match c.publishers {
        Publishers::Named(_) => "named",
        Publishers::Members => "all members",
    };
    differs("publishers", &publishers(old), &publishers(new));
    let (was, is) = (&old.limits, &new.limits);
    differs("bytes of a record", &was.record_bytes, &is.record_bytes);
    differs(
        "records of an author",
        &was.records_per_author,
        &is.records_per_author,
    );
    differs("records in all", &was.records_total, &is.records_total);
    let seconds = |ms: u64| format!("{} s", ms / 1000);
    differs(
        "lifetime",
        &seconds(was.lifetime_ms),
        &seconds(is.lifetime_ms),
    );
    let chunk = |c: &Charter| {
        c.chunk_bits
            .map_or("free".into(), |b| (1u64 << b).to_string())
    };
    differs("chunk size", &chunk(old), &chunk(new));
    let presence = |c: &Charter| c.presence_ms.map_or("none".into(), seconds);
    differs("presence", &presence(old), &presence(new));
    let on = |is: bool| if is { "on" } else { "off" };
    differs(
        "deferred expiry",
        &on(old.deferred_expiry),
        &on(new.deferred_expiry),
    );
    differs("announced", &on(old.announced), &on(new.announced));
    let none = BTreeSet::new();
    let named = |c: &Charter| match &c.publishers {
        Publishers::Named(list) => list.clone(),
        Publishers::Members => none.clone(),
    };
    let former = |c: &Charter| c.former.keys().copied().collect::<BTreeSet<_>>();
    for (term, from, to) in [
        ("root", old.roots.clone(), new.roots.clone()),
        ("admin", old.admins.clone(), new.admins.clone()),
        ("publisher", named(old), named(new)),
        ("former owner or admin", former(old), former(new)),
    ] {
        let change = |from: Option<&PeerId>, to: Option<&PeerId>| TermChange {
            term: term.to_owned(),
            from: from.map(ToString::to_string),
            to: to.map(ToString::to_string),
        };
        all.extend(from.difference(&to).map(|gone| change(Some(gone), None)));
        all.extend(to.difference(&from).map(|come| change(None, Some(come))));
    }
    all
}

#[cfg(test)]
mod tests {
    use samara_graph::WallMs;

    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn id(n: u8) -> PeerId {
        crate::identity::peer_id(&key(n))
    }

    fn first() -> SignedCharter {
        let owner = SecretKey::from_bytes(&[1; 32]);
        let charter = Charter::private("club", owner.peer_id(), WallMs(1), [0; 16]);
        charter.sign(&[&owner]).unwrap()
    }

    fn shared() -> CharterDraft {
        let first = first();
        let next = Charter {
            roots: [id(1), id(2), id(3)].into(),
            threshold: 2,
            admins: [id(1)].into(),
            ..first.charter().successor(first.reference().hash, WallMs(2))
        };
        CharterDraft::new(next, Some(first)).unwrap()
    }

    #[test]
    fn a_draft_goes_from_key_to_key_as_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("draft");
        write_draft(&file, &shared(), false).unwrap();
        let again = write_draft(&file, &shared(), false).unwrap_err();
        assert_eq!(again.kind, ErrorKind::Exists);
        let view = show_draft(&file).unwrap();
        assert_eq!((view.missing, view.unsigned.len()), (2, 3));
        let terms: Vec<_> = view.changes.iter().map(|c| c.term.as_str()).collect();
        assert_eq!(terms, ["threshold", "root", "root", "admin"]);

        assert_eq!(sign_draft(&file, &key(2)).unwrap().missing, 1);
        assert_eq!(sign_draft(&file, &key(2)).unwrap().missing, 1);
        assert_eq!(sign_draft(&file, &key(1)).unwrap().missing, 0);
        let stranger = sign_draft(&file, &key(9)).unwrap_err();
        assert_eq!(stranger.kind, ErrorKind::Denied);
        assert_eq!(show_draft(&file).unwrap().unsigned, [id(3).to_string()]);

        fs::write(&file, b"something else").unwrap();
        assert_eq!(show_draft(&file).unwrap_err().kind, ErrorKind::Usage);
        fs::write(&file, vec![0; MAX_DRAFT_BYTES as usize + 9]).unwrap();
        assert_eq!(show_draft(&file).unwrap_err().kind, ErrorKind::Usage);
        let gone = show_draft(&dir.path().join("none")).unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
    }

    #[test]
    fn a_root_of_both_charters_counts_for_both() {
        let draft = shared();
        let after = |signers: &[u8]| {
            let signers = signers.iter().map(|n| id(*n)).collect();
            missing(draft.previous(), draft.charter(), &signers)
        };
        assert_eq!([after(&[]), after(&[1]), after(&[2])], [2, 1, 1]);
        assert_eq!([after(&[1, 2]), after(&[2, 3])], [0, 1]);
    }
}
