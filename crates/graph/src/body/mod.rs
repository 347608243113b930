//! The bodies of the kinds that this version knows. Each starts with a format
//! byte: a record whose body is of a newer format is carried like one of an
//! unknown kind.

mod membership;

use samara_wire::{ContentId, PeerId, Reader, VARINT_MAX, WireError, Writer};

use crate::{Kind, Record, Role, WallMs, limits};
pub(crate) use membership::read_prefixes;
pub use membership::{Grant, IdPrefix, Invite, Redemption, Revocation, TimeFloor, id_prefix};

const FORMAT: u8 = 1;

/// A content, as a record names it: enough to say what it is before asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRef {
    /// The hash of its manifest's root.
    pub id: ContentId,
    /// Bytes of that root; at most [`limits::MAX_ROOT_BYTES`].
    pub root_len: u32,
    /// Bytes of all files together, as the author says; the manifest proves it.
    pub bytes: u64,
    /// Number of files, as the author says.
    pub files: u32,
}

/// A version of a product. The record's key is `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// One valid path component, see [`valid_version`].
    pub version: String,
    /// What is released.
    pub content: ContentRef,
    /// Markdown; at most [`limits::MAX_NOTES_BYTES`] bytes.
    pub notes: String,
}

/// An issue of a newsletter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// One line; at most [`limits::MAX_SUBJECT_BYTES`] bytes.
    pub subject: String,
    /// The text.
    pub text: IssueText,
    /// The attached files, if there are any.
    pub attachments: Option<ContentRef>,
}

/// Where the text of an issue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssueText {
    /// Here: Markdown of at most [`limits::MAX_INLINE_MARKDOWN`] bytes.
    Inline(String),
    /// In a content of one file.
    Content(ContentRef),
}

/// What a one-off share shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The file or folder.
    pub content: ContentRef,
}

/// Takes back every record of its own author with this kind and key, a sequence of
/// at most `up_to`, and an expiry not later than its own: so it outlives what it
/// retracts, on every node alike.
///
/// One of kind [`Kind::GRANT`] about its own author says that the author *leaves* the
/// channel: see [`Retraction::leaves`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retraction {
    /// Of which kind; no control kind but that of a leave, so that no retraction undoes
    /// another.
    pub kind: Kind,
    /// About what.
    pub key: Box<[u8]>,
    /// Up to which sequence; less than the retraction's own.
    pub up_to: u64,
}

/// A body that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// Kind [`Kind::RELEASE`].
    Release(Release),
    /// Kind [`Kind::ISSUE`].
    Issue(Issue),
    /// Kind [`Kind::SHARE`].
    Share(Share),
    /// Kind [`Kind::RETRACTION`].
    Retraction(Retraction),
    /// Kind [`Kind::GRANT`].
    Grant(Grant),
    /// Kind [`Kind::REVOCATION`].
    Revocation(Revocation),
    /// Kind [`Kind::INVITE`].
    Invite(Invite),
    /// Kind [`Kind::REDEMPTION`].
    Redemption(Redemption),
    /// Kind [`Kind::TIME`].
    Time(TimeFloor),
    /// A kind or a format that this version does not know: carried, not read.
    Unknown,
}

impl Body {
    /// Reads a record's body and checks what its kind demands of the whole record.
    ///
    /// # Errors
    /// If the kind and the format are known and the bytes are not of them: such a
    /// record is invalid.
    pub fn of(record: &Record) -> Result<Self, WireError> {
        let mut r = Reader::new(record.body());
        let known = [Kind::RELEASE, Kind::ISSUE, Kind::SHARE];
        let known = known.contains(&record.kind())
            || (Kind::RETRACTION..=Kind::TIME).contains(&record.kind());
        if !known
            || record
                .body()
                .first()
                .is_some_and(|format| *format != FORMAT)
        {
            return Ok(Self::Unknown);
        }
        r.u8("body format")?;
        let body = match record.kind() {
            Kind::RELEASE => Self::Release(Release::read(&mut r)?),
            Kind::ISSUE => Self::Issue(Issue::read(&mut r)?),
            Kind::SHARE => Self::Share(Share {
                content: ContentRef::read(&mut r)?,
            }),
            Kind::RETRACTION => Self::Retraction(Retraction::read(&mut r)?),
            Kind::GRANT => Self::Grant(Grant::read(&mut r)?),
            Kind::REVOCATION => Self::Revocation(Revocation::read(&mut r)?),
            Kind::INVITE => Self::Invite(Invite::read(&mut r)?),
            Kind::REDEMPTION => Self::Redemption(Redemption::read(&mut r)?),
            _ => Self::Time(TimeFloor::read(&mut r)?),
        };
        r.finish()?;
        let about_a_peer = record.key().len() == 32;
        let lasts = |until| record.created() < until && until <= record.expires();
        let forever = record.expires() == WallMs(limits::MAX_TIME_MS);
        let fits = match &body {
            Self::Release(release) => release.version.as_bytes() == record.key().as_ref(),
            Self::Retraction(r) if r.kind.is_control() => {
                r.leaves(&record.author()) && r.up_to == 0 && forever
            }
            Self::Retraction(retraction) => retraction.up_to < record.seq(),
            Self::Grant(grant) => {
                about_a_peer && lasts(grant.until) && (grant.role != Role::Admin || forever)
            }
            Self::Revocation(_) => about_a_peer && forever,
            Self::Invite(invite) => about_a_peer && lasts(invite.until),
            Self::Redemption(_) => about_a_peer,
            Self::Time(time) => time.at <= record.created(),
            _ => true,
        };
        match fits {
            true => Ok(body),
            false => Err(WireError::Invalid { field: "body" }),
        }
    }
}

/// The subject, if the record's key is that of a peer.
pub(crate) fn subject(key: &[u8]) -> Option<PeerId> {
    key.try_into().ok().map(PeerId)
}

impl ContentRef {
    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: ContentId::read(r)?,
            root_len: r.varint32("root length", limits::MAX_ROOT_BYTES)?,
            bytes: r.varint("content bytes", limits::MAX_CONTENT_BYTES)?,
            files: r.varint32("content files", limits::MAX_CONTENT_FILES)?,
        })
    }

    fn write(&self, w: &mut Writer) {
        self.id.write(w);
        w.varint(self.root_len.into());
        w.varint(self.bytes);
        w.varint(self.files.into());
    }
}

impl Release {
    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        w.str(&self.version);
        self.content.write(&mut w);
        w.str(&self.notes);
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let release = Self {
            version: r.str("version", limits::MAX_KEY_BYTES)?.into(),
            content: ContentRef::read(r)?,
            notes: r.str("notes", limits::MAX_NOTES_BYTES)?.into(),
        };
        match valid_version(&release.version) {
            true => Ok(release),
            false => Err(WireError::Invalid { field: "version" }),
        }
    }
}

impl Issue {
    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        w.str(&self.subject);
        match &self.text {
            IssueText::Inline(text) => {
                w.u8(0);
                w.str(text);
            }
            IssueText::Content(content) => {
                w.u8(1);
                content.write(&mut w);
            }
        }
        w.bool(self.attachments.is_some());
        if let Some(content) = &self.attachments {
            content.write(&mut w);
        }
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let issue = Self {
            subject: r.str("subject", limits::MAX_SUBJECT_BYTES)?.into(),
            text: match r.u8("issue text")? {
                0 => IssueText::Inline(r.str("markdown", limits::MAX_INLINE_MARKDOWN)?.into()),
                1 => IssueText::Content(ContentRef::read(r)?),
                _ => {
                    return Err(WireError::Invalid {
                        field: "issue text",
                    });
                }
            },
            attachments: match r.bool("attachments")? {
                true => Some(ContentRef::read(r)?),
                false => None,
            },
        };
        match issue.subject.chars().any(char::is_control) {
            true => Err(WireError::Invalid { field: "subject" }),
            false => Ok(issue),
        }
    }
}

impl Share {
    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        self.content.write(&mut w);
        w.finish()
    }
}

impl Retraction {
    /// That `author` leaves the channel: it gives back every grant for it that was
    /// created no later than this record, and every redemption of its own with a lower
    /// sequence. What it wrote until then stands. The record never expires, so that no
    /// renewal made in ignorance of it brings the author back; `up_to` is 0.
    pub fn leave(author: &PeerId) -> Self {
        Self {
            kind: Kind::GRANT,
            key: author.as_bytes().as_slice().into(),
            up_to: 0,
        }
    }

    /// Whether it says that `author`, who signed it, leaves the channel.
    pub fn leaves(&self, author: &PeerId) -> bool {
        self.kind == Kind::GRANT && *self.key == *author.as_bytes()
    }

    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        self.write(&mut w);
        w.finish()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let retraction = Self {
            kind: Kind(r.varint32("retracted kind", u32::MAX)?),
            key: r.bytes("retracted key", limits::MAX_KEY_BYTES)?.into(),
            up_to: r.varint("retracted sequence", VARINT_MAX)?,
        };
        match retraction.kind.is_control() && retraction.kind != Kind::GRANT {
            true => Err(WireError::Invalid {
                field: "retracted kind",
            }),
            false => Ok(retraction),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.varint(self.kind.0.into());
        w.bytes(&self.key);
        w.varint(self.up_to);
    }
}

/// Whether `version` can name a release: one path component of 1 to
/// [`limits::MAX_KEY_BYTES`] bytes on every system, not hidden, not `current`.
pub fn valid_version(version: &str) -> bool {
    let bad = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
    (1..=limits::MAX_KEY_BYTES).contains(&version.len())
        && !version.starts_with('.')
        && !version.starts_with(' ')
        && !version.ends_with(['.', ' '])
        && !version.eq_ignore_ascii_case("current")
        && !samara_content::is_device(version)
        && !version.chars().any(bad)
}
