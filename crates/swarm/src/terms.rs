//! Taking part in another way: pausing, leeching, another priority.

use samara_content::ChunkSet;

use crate::{Action, ContentKey, Message, Order, Policy, Role, swarm::Swarm};

impl Swarm {
    /// Peers that have credit or answers outstanding at once, from now on; at least 1.
    pub fn set_upload_slots(&mut self, slots: usize) {
        self.config.upload_slots = slots.max(1);
    }

    /// Who is to be done early, from the next grant on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.config.policy = policy;
    }

    pub(crate) fn change_terms(
        &mut self,
        key: ContentKey,
        role: Role,
        priority: u8,
        order: Order,
        out: &mut Vec<Action>,
    ) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut content.role, role);
        content.priority = priority;
        content.order = order;
        let count = content.have.len();
        if before.serves() != role.serves() && !content.have.is_empty() {
            let have = match role.serves() {
                true => content.have.clone(),
                false => ChunkSet::new(count),
            };
            content.news.clear();
            content.far_news.clear();
            for peer in content.links.keys() {
                let (peer, msg) = (*peer, Message::Have(have.clone()));
                out.push(Action::Send { peer, key, msg });
            }
        }
        if role.serves() {
            self.uplink.demand(key);
        } else {
            let peers: Vec<_> = content.links.keys().copied().collect();
            for link in content.links.values_mut() {
                // Requests for it are refused from now on.
                link.credit = 0;
            }
            for peer in peers {
                self.rest(key, peer);
            }
        }
        let content = self.contents.get_mut(&key).expect("looked up above");
        if before.fetches() != role.fetches() && content.missing > 0 {
            let wants = content.to_fetch();
            for (peer, link) in &mut content.links {
                link.released = false;
                let (peer, msg) = (*peer, Message::Want(wants));
                out.push(Action::Send { peer, key, msg });
            }
        }
        if !role.fetches() {
            content.yielded = false;
            content.share.retry_at = None;
            let open: Vec<_> = content.requests.keys().copied().collect();
            for request in open {
                if let Some(asked) = content.forget_request(request) {
                    out.push(Action::Cancel {
                        peer: asked.peer,
                        key,
                        request,
                    });
                }
            }
        }
    }
}
