//! Newsletter issues: posting and reading.

use std::{
    collections::HashSet,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use pulldown_cmark::{Event as Markdown, Parser, Tag, TagEnd};
use samara_content::EntryKind;
use samara_graph::{
    Kind, Record, WallMs,
    body::{Body, Issue, IssueText},
    limits::{MAX_INLINE_MARKDOWN, MAX_SUBJECT_BYTES},
};
use samara_store::{Content, ImportOptions, Store};
use samara_wire::{ChannelId, ContentId, RecordId};

use super::{
    Context,
    publish::{content_ref, delivered},
    resolve, share, writable,
};
use crate::{
    EngineError,
    api::{Attachment, ErrorKind, Event},
    core::{self, Core, Item, Role, What, wall_ms},
    identity,
    issues::{self, issue_dir},
    rfc3339,
};

/// Folder of an issue's attachments, and the content's name.
const ATTACHMENTS: &str = "attachments";
/// File of a text that does not fit the record, and the content's name.
const TEXT: &str = "text.md";
/// Longest text of an issue, in bytes.
const MAX_TEXT: usize = 1 << 20;
/// Longest subject that is taken from a text, in characters.
const SUBJECT_CHARS: usize = 120;
/// Longest readable part of a slug, in bytes.
const SLUG_WORDS: usize = 40;

pub(super) async fn post(
    context: &Context,
    channel: &str,
    subject: Option<String>,
    text: String,
    attach: Vec<PathBuf>,
) -> Result<(), EngineError> {
    let named = channel.to_owned();
    let id = context
        .core()
        .call(move |core| writable(core, &named, Kind::ISSUE))
        .await??;
    let usage = |message: String| EngineError::new(ErrorKind::Usage, message);
    if text.len() > MAX_TEXT {
        return Err(usage(format!(
            "the text has {} bytes; an issue's has at most {MAX_TEXT}: attach it instead",
            text.len()
        )));
    }
    let subject = subject.unwrap_or_else(|| first_heading(&text));
    let subject: String = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES {
        return Err(usage(format!(
            "an issue needs a subject of 1 to {MAX_SUBJECT_BYTES} bytes: --subject, or a heading in the text"
        )));
    }
    if subject.chars().any(char::is_control) {
        return Err(usage(
            "the subject has a control character in it".to_owned(),
        ));
    }
    let slug = slug(&subject)?;
    let dir = issue_dir(context.data_dir(), id, &slug);
    let draft = context.engine.drafts.begin(dir.clone());
    let _draft = draft.ok_or_else(|| {
        EngineError::new(
            ErrorKind::Exists,
            format!("another command is posting \"{slug}\""),
        )
    })?;
    let files = match store_files(context, &dir, text, attach).await {
        Ok(files) => files,
        Err(error) => {
            let removed = context.blocking(move |_| issues::remove(&dir)).await;
            if let Err(left) = removed {
                tracing::warn!(error = %left, "what was copied for an issue is left; `samara gc` removes it");
            }
            return Err(error);
        }
    };
    let (body, attachments) = files;
    let count = match &attachments {
        Some(content) => share::file_count(content),
        None => 0,
    };
    let issue = Issue {
        subject: subject.clone(),
        text: body,
        attachments: attachments.as_ref().map(|content| content_ref(content)),
    };
    let about = slug.clone();
    let posted = move |record: RecordId| Event::Posted {
        channel: id.to_string(),
        issue: slug,
        subject,
        attachments: count.into(),
        record: record.to_string(),
    };
    let receipt = context.receipt(posted.clone());
    let record = context
        .core()
        .call(move |core| {
            let draft = core::draft(Kind::ISSUE, about.as_bytes(), issue.encode());
            Ok::<_, EngineError>(core.publish(id, draft, receipt)?.id())
        })
        .await??;
    delivered(context, id, record).await?;
    context.emit(posted(record)).await;
    Ok(())
}

/// Puts what does not fit the record into the issue's folder: the text of a long
/// one, and the attachments.
async fn store_files(
    context: &Context,
    dir: &Path,
    text: String,
    attach: Vec<PathBuf>,
) -> Result<(IssueText, Option<Arc<Content>>), EngineError> {
    let attachments = match attach.is_empty() {
        true => None,
        false => Some(gather(context, dir, attach).await?),
    };
    if text.len() <= MAX_INLINE_MARKDOWN {
        return Ok((IssueText::Inline(text), attachments));
    }
    let path = dir.join(TEXT);
    let (to, bytes) = (path.clone(), text.into_bytes());
    context.blocking(move |_| write_file(&to, &bytes)).await?;
    let content = share::import(context, path, ImportOptions::default()).await?;
    Ok((IssueText::Content(content_ref(&content)), attachments))
}

pub(super) async fn read(
    context: &Context,
    channel: Option<&str>,
    issue: Option<&str>,
) -> Result<(), EngineError> {
    let (named, issue) = (channel.map(str::to_owned), issue.map(str::to_owned));
    let wanted = issue.clone();
    let listed = context
        .core()
        .call(move |core| {
            let mut listed = Vec::new();
            for id in newsletters(core, named.as_deref())? {
                let channel = &core.channels[&id];
                let name = channel.name().unwrap_or_else(|| id.short());
                for (i, item) in channel.newest(Kind::ISSUE).into_iter().enumerate() {
                    let number = i as u64 + 1;
                    let slug = String::from_utf8_lossy(&item.header.key).into_owned();
                    // Slugs begin with a date: a number is never the beginning of one.
                    let matches = wanted.as_ref().is_none_or(|w| {
                        *w == slug
                            || match w.parse::<u64>() {
                                Ok(nth) => nth == number,
                                Err(_) => slug.starts_with(w.as_str()),
                            }
                    });
                    if matches {
                        listed.push((id, name.clone(), number, slug, item.clone()));
                    }
                }
            }
            Ok::<_, EngineError>(listed)
        })
        .await??;
    if listed.is_empty()
        && let Some(issue) = issue
    {
        return Err(EngineError::new(
            ErrorKind::NotFound,
            format!("there is no issue \"{issue}\"; `samara read` lists them"),
        ));
    }
    // One by one: all texts together may be more than memory holds.
    for (id, name, number, slug, item) in listed {
        let dir = issue_dir(context.data_dir(), id, &slug);
        let event = context
            .blocking(move |store| describe(store, &dir, id, name, number, slug, &item))
            .await?;
        context.emit(event).await;
    }
    Ok(())
}

/// The channel that is named, or all that may have issues, by name.
fn newsletters(core: &Core, named: Option<&str>) -> Result<Vec<ChannelId>, EngineError> {
    if let Some(text) = named {
        return Ok(vec![resolve(core, text)?]);
    }
    let mut ids: Vec<_> = core
        .channels
        .iter()
        .filter(|(_, c)| !matches!(c.meta.role, Role::Share | Role::Guest))
        .map(|(id, c)| (c.name(), *id))
        .collect();
    ids.sort();
    Ok(ids.into_iter().map(|(_, id)| id).collect())
}

/// Lists issues of all channels by date, without opening anything.
pub(super) async fn headings(
    context: &Context,
    channel: Option<String>,
    skip: u64,
    limit: u64,
) -> Result<(), EngineError> {
    let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let events = context
        .core()
        .call(move |core| {
            let mut all = Vec::new();
            for id in newsletters(core, channel.as_deref())? {
                let issues = core.channels[&id].newest(Kind::ISSUE).into_iter();
                all.extend(issues.zip(1..).map(|(item, number)| (id, number, item)));
            }
            all.sort_by_key(|(id, number, item)| {
                (std::cmp::Reverse(item.header.created), *id, *number)
            });
            let page = all.into_iter().skip(count(skip)).take(count(limit));
            Ok::<_, EngineError>(
                page.filter_map(|(id, number, item)| heading(core, id, number, item))
                    .collect::<Vec<_>>(),
            )
        })
        .await??;
    for event in events {
        context.emit(event).await;
    }
    Ok(())
}

fn heading(core: &Core, id: ChannelId, number: u64, item: &Item) -> Option<Event> {
    let What::Issue {
        subject,
        text,
        attachments,
    } = &item.what
    else {
        return None;
    };
    let channel = core.channels.get(&id)?;
    let parts = text.iter().chain(attachments);
    Some(Event::Heading {
        channel: channel.name().unwrap_or_else(|| id.short()),
        channel_id: id.to_string(),
        issue: String::from_utf8_lossy(&item.header.key).into_owned(),
        number,
        subject: subject.clone(),
        published: rfc3339::format(item.header.created.0),
        attachments: attachments.as_ref().map_or(0, |a| a.files.into()),
        complete: parts
            .map(|content| &content.id)
            .all(|id| whole(&core.store, id)),
    })
}

/// An issue as it is on this disk. Blocks.
fn describe(
    store: &Store,
    dir: &Path,
    id: ChannelId,
    channel: String,
    number: u64,
    slug: String,
    item: &Item,
) -> Result<Event, EngineError> {
    let What::Issue {
        subject,
        text,
        attachments,
    } = &item.what
    else {
        return Err(EngineError::new(ErrorKind::Internal, "not an issue"));
    };
    let record = store
        .record(&id, &item.header.id)?
        .and_then(|bytes| Record::decode(bytes.into()).ok());
    let inline = record.and_then(|record| match Body::of(&record) {
        Ok(Body::Issue(Issue {
            text: IssueText::Inline(text),
            ..
        })) => Some(text),
        _ => None,
    });
    let body = match text {
        None => inline,
        Some(content) => whole(store, &content.id)
            .then(|| read_text(&dir.join(TEXT)).ok())
            .flatten(),
    };
    let mut complete = body.is_some();
    let mut files = Vec::new();
    if let Some(content) = attachments {
        let here = whole(store, &content.id);
        complete &= here;
        let manifest = store.load_manifest(&content.id);
        for entry in manifest
            .as_ref()
            .and_then(|m| m.entries())
            .unwrap_or_default()
        {
            if let EntryKind::File { size } = entry.kind {
                let path = dir.join(ATTACHMENTS).join(entry.path.as_str());
                // A content that came in a file may be whole and not in its place yet.
                let placed = here && path.exists();
                complete &= placed;
                files.push(Attachment {
                    name: entry.path.to_string(),
                    bytes: size,
                    path: placed.then_some(path),
                });
            }
        }
    }
    Ok(Event::Issue {
        channel,
        channel_id: id.to_string(),
        issue: slug,
        number,
        subject: subject.clone(),
        published: rfc3339::format(item.header.created.0),
        body: body.unwrap_or_default(),
        attachments: files,
        complete,
    })
}

/// An issue's text, as much of it as an issue has: whoever published it may have
/// named a file of any size.
fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_TEXT as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Whether a content is whole and in its place.
fn whole(store: &Store, id: &ContentId) -> bool {
    store
        .content(id)
        .is_some_and(|content| content.is_complete() && content.is_finished())
}

/// Copies the attachments into the issue's folder: a newsletter must outlive the
/// files that it was made of.
async fn gather(
    context: &Context,
    dir: &Path,
    attach: Vec<PathBuf>,
) -> Result<Arc<Content>, EngineError> {
    let folder = dir.join(ATTACHMENTS);
    let to = folder.clone();
    context
        .blocking(move |_| {
            let mut names = HashSet::new();
            for file in &attach {
                let name = file.file_name().ok_or_else(|| {
                    EngineError::new(ErrorKind::Usage, format!("{}: not a file", file.display()))
                })?;
                if !file.is_file() {
                    let kind = if file.exists() {
                        ErrorKind::Usage
                    } else {
                        ErrorKind::NotFound
                    };
                    return Err(EngineError::new(
                        kind,
                        format!("{}: an attachment must be a file", file.display()),
                    ));
                }
                if !names.insert(name.to_owned()) {
                    return Err(EngineError::new(
                        ErrorKind::Usage,
                        format!("two attachments are called {}", name.display()),
                    ));
                }
            }
            std::fs::create_dir_all(&to).map_err(|e| EngineError::disk(&to, &e))?;
            for file in &attach {
                // A reflink where the file system can.
                let name = file.file_name().expect("checked above");
                std::fs::copy(file, to.join(name)).map_err(|e| EngineError::disk(file, &e))?;
            }
            Ok(())
        })
        .await?;
    share::import(context, folder, ImportOptions::default()).await
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let dir = path.parent().expect("below the data directory");
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(path, bytes))
        .map_err(|e| EngineError::disk(path, &e))
}

/// The words of the first Markdown heading, else those of the first line of text.
fn first_heading(text: &str) -> String {
    let mut line = None;
    let mut open: Option<(bool, String)> = None;
    for event in Parser::new(text) {
        match (event, &mut open) {
            (Markdown::Start(Tag::Heading { .. }), _) => open = Some((true, String::new())),
            (Markdown::Start(Tag::Paragraph | Tag::CodeBlock(_)), _) if line.is_none() => {
                open = Some((false, String::new()));
            }
            (Markdown::Text(words) | Markdown::Code(words), Some((_, words_so_far))) => {
                words_so_far.push_str(&words);
            }
            (Markdown::SoftBreak | Markdown::HardBreak, Some((true, words))) => words.push(' '),
            (Markdown::SoftBreak | Markdown::HardBreak, Some((false, _)))
            | (Markdown::End(TagEnd::Paragraph | TagEnd::CodeBlock), Some((false, _))) => {
                line = open.take().map(|(_, words)| words);
            }
            (Markdown::End(TagEnd::Heading(_)), Some((true, words))) => {
                if !words.trim().is_empty() {
                    return shortened(words);
                }
                open = None;
            }
            _ => {}
        }
    }
    shortened(line.unwrap_or_default().lines().next().unwrap_or_default())
}

fn shortened(words: &str) -> String {
    words.trim().chars().take(SUBJECT_CHARS).collect()
}

/// A short readable name that no other issue has: day, words, four random letters.
fn slug(subject: &str) -> Result<String, EngineError> {
    let mut words = String::new();
    for c in subject.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            words.push(c);
        } else if !words.is_empty() && !words.ends_with('-') {
            words.push('-');
        }
        if words.len() >= SLUG_WORDS {
            break;
        }
    }
    let mut random = [0; 4];
    identity::random(&mut random)?;
    let tail: String = random
        .iter()
        .map(|b| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(*b % 32)]))
        .collect();
    let day = rfc3339::format(WallMs(wall_ms()).0);
    Ok([&day[..10], words.trim_matches('-'), &tail]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_comes_from_the_text_if_need_be() {
        assert_eq!(first_heading("\nhello\n\n## Spring  \n"), "Spring");
        assert_eq!(first_heading("\n just a line\nmore"), "just a line");
        assert_eq!(first_heading(""), "");
        assert_eq!(
            first_heading("# Hello *you* and `code`"),
            "Hello you and code"
        );
        assert_eq!(
            first_heading("[News](http://x) of **May**\n"),
            "News of May"
        );
        assert_eq!(first_heading("#\n\nUnder\n=====\n"), "Under");
        assert_eq!(first_heading("    let x;\n    let y;\n"), "let x;");
        assert_eq!(first_heading("- one\n- two"), "");
    }

    #[test]
    fn no_more_of_a_text_is_read_than_an_issue_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TEXT);
        let file = std::fs::File::create(&path).unwrap();
        // Sparse: as large as a publisher likes.
        file.set_len(1 << 40).unwrap();
        assert_eq!(read_text(&path).unwrap().len(), MAX_TEXT);
        std::fs::write(&path, "ü".repeat(MAX_TEXT)).unwrap();
        assert!(read_text(&path).unwrap().starts_with("üü"));
        std::fs::write(&path, "short").unwrap();
        assert_eq!(read_text(&path).unwrap(), "short");
    }

    #[test]
    fn slugs_are_path_components_of_bounded_length() {
        for subject in ["Grüße & more: ../../etc", "???", &"long word ".repeat(50)] {
            let slug = slug(subject).unwrap();
            assert!(slug.len() <= samara_graph::limits::MAX_KEY_BYTES, "{slug}");
            assert!(
                slug.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "{slug}"
            );
        }
    }
}
