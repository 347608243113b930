use serde::{Deserialize, Serialize};

/// What an invitation gives, and by which name it is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationView {
    /// The invite record: [`Request::Revoke`](super::Request::Revoke) takes it back by
    /// this.
    pub invitation: String,
    /// Which role its bearer gets.
    pub role: String,
    /// How many may use it.
    pub uses: u32,
    /// Until when it can be used, RFC 3339, UTC.
    pub expires: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Event;

    #[test]
    fn a_link_tells_of_its_invitation_beside_it() {
        let link = |invitation| Event::Link {
            link: "samara:x".into(),
            invitation,
        };
        let plain = link(None);
        let text = serde_json::to_string(&plain).unwrap();
        assert_eq!(text, r#"{"event":"link","link":"samara:x"}"#);
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), plain);
        let inviting = link(Some(InvitationView {
            invitation: "i".into(),
            role: "member".into(),
            uses: 3,
            expires: "2026-11-21T00:00:00Z".into(),
        }));
        let text = serde_json::to_string(&inviting).unwrap();
        assert_eq!(
            text,
            r#"{"event":"link","link":"samara:x","invitation":"i","role":"member","uses":3,"expires":"2026-11-21T00:00:00Z"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), inviting);
    }
}
