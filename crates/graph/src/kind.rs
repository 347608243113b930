use std::fmt;

/// What a record's body is. A number and not an enum, since a node stores and
/// forwards kinds that it does not know.
///
/// The number says which rules hold, also to a node that does not know the kind:
/// below 256 it is a *control* kind, with a quota of its own that nothing ordinary
/// displaces; from 65,536 on it belongs to applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u32);

impl Kind {
    /// Takes records of its own author back: [`body::Retraction`](crate::body::Retraction).
    pub const RETRACTION: Self = Self(1);
    /// A signed credential: [`body::Grant`](crate::body::Grant). Its key is whom it is for.
    pub const GRANT: Self = Self(2);
    /// Takes an identity's rights back: [`body::Revocation`](crate::body::Revocation).
    pub const REVOCATION: Self = Self(3);
    /// The public half of an invitation: [`body::Invite`](crate::body::Invite).
    pub const INVITE: Self = Self(4);
    /// An invitation used: [`body::Redemption`](crate::body::Redemption).
    pub const REDEMPTION: Self = Self(5);
    /// An owner's word on what time it is: [`body::TimeFloor`](crate::body::TimeFloor).
    pub const TIME: Self = Self(6);
    /// A version of a product: [`body::Release`](crate::body::Release). Its key is the version.
    pub const RELEASE: Self = Self(256);
    /// An issue of a newsletter: [`body::Issue`](crate::body::Issue).
    pub const ISSUE: Self = Self(257);
    /// The content of a one-off share: [`body::Share`](crate::body::Share).
    pub const SHARE: Self = Self(258);
    /// A presence lease, where the charter allows them; its body is the application's.
    pub const PRESENCE: Self = Self(259);

    /// The kinds that have a name.
    const NAMED: [(Self, &str); 10] = [
        (Self::RETRACTION, "retraction"),
        (Self::GRANT, "grant"),
        (Self::REVOCATION, "revocation"),
        (Self::INVITE, "invite"),
        (Self::REDEMPTION, "redemption"),
        (Self::TIME, "time"),
        (Self::RELEASE, "release"),
        (Self::ISSUE, "issue"),
        (Self::SHARE, "share"),
        (Self::PRESENCE, "presence"),
    ];

    /// First of the kinds that belong to applications.
    pub const FIRST_OF_APPLICATIONS: Self = Self(65_536);

    /// Whether records of this kind govern others.
    pub fn is_control(self) -> bool {
        self.0 < 256
    }

    /// The kind of that name, as [`name`](Self::name) says it.
    pub fn named(name: &str) -> Option<Self> {
        let known = Self::NAMED.iter().find(|(_, known)| *known == name);
        known.map(|(kind, _)| *kind)
    }

    /// Its name, if it is one that this version knows.
    pub fn name(self) -> Option<&'static str> {
        let known = Self::NAMED.iter().find(|(kind, _)| *kind == self);
        known.map(|(_, name)| *name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {}", self.0),
        }
    }
}
