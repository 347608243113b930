//! A node that grants, invites, revokes and lets time pass, beside a few lines that
//! say who should have which role.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use samara_graph::{Invitation, Keep, Kind, NewGrant, NewInvite, Role, WallMs};

use crate::{
    club::{commune, id},
    lone::{HOUR, Lone, NOW, key},
};

const PEOPLE: u8 = 6;

#[derive(Debug, Clone)]
enum Step {
    Grant {
        by: u8,
        to: u8,
        role: Role,
        hours: u32,
        /// How often, one after the other, each for an hour more.
        times: u32,
        /// Whether the last takes the place of all others that the subject has; only
        /// the owner's do.
        replaces: bool,
    },
    Invite {
        by: u8,
        role: Role,
        uses: u32,
        hours: u32,
    },
    Redeem {
        joiner: u8,
        which: usize,
    },
    Revoke {
        by: u8,
        whom: u8,
        all: bool,
        /// With all: also its revocations.
        pardon: bool,
    },
    Leave {
        who: u8,
    },
    Write {
        by: u8,
    },
    Pass {
        hours: u32,
    },
}

/// A credential, or the place of an invitation in a chain of them.
#[derive(Debug, Clone)]
struct Credential {
    of: Option<u8>,
    role: Role,
    until: u64,
    by: u8,
    parent: Option<usize>,
    gone: bool,
    /// Its holder left: nothing more is made by it, what was stands.
    given_back: bool,
    /// It takes the place of all that its holder had before.
    replaces: bool,
}

#[derive(Debug, Clone, Default)]
struct Model {
    hour: u64,
    credentials: Vec<Credential>,
    /// Index of the credential, and how many more may redeem it.
    invites: Vec<(usize, u32)>,
    /// By whom, and whom.
    revocations: BTreeSet<(u8, u8)>,
}

impl Model {
    fn own(&self, who: u8) -> Vec<(Role, u64, Option<usize>)> {
        if who == 1 {
            return vec![(Role::Owner, u64::MAX, None)];
        }
        if self.is_revoked(who) {
            return vec![];
        }
        let all = self.credentials.iter().enumerate();
        let own = all
            .filter(|(_, c)| c.of == Some(who) && !c.gone && !c.given_back && self.hour <= c.until)
            .filter(|(n, _)| {
                // An owner's stand whatever happens.
                let mut later = self.credentials[n + 1..].iter();
                !later.any(|c| c.of == Some(who) && c.replaces)
            });
        own.map(|(n, c)| (c.role, c.until, Some(n))).collect()
    }

    fn role(&self, who: u8) -> Option<Role> {
        self.own(who).into_iter().map(|(role, ..)| role).min()
    }

    /// By which credential `who` gives something away: the one that lasts longest.
    fn right(&self, who: u8, may: impl Fn(Role) -> bool) -> Option<(u64, Option<usize>)> {
        let own = self.own(who).into_iter().filter(|(role, ..)| may(*role));
        own.map(|(_, until, n)| (until, n))
            .max_by_key(|(until, _)| *until)
    }

    /// Whether `who` gave something in the chain that ends with `last`.
    fn gave(&self, mut last: Option<usize>, who: u8) -> bool {
        while let Some(credential) = last.map(|n| &self.credentials[n]) {
            if credential.by == who {
                return true;
            }
            last = credential.parent;
        }
        false
    }

    fn may_revoke(&self, by: u8, whom: u8) -> bool {
        whom != 1 && (by == 1 || self.role(by) == Some(Role::Admin) && !self.is_admin(whom))
    }

    /// Whether or not its time is over.
    fn is_admin(&self, who: u8) -> bool {
        let mut all = self.credentials.iter();
        all.any(|c| c.of == Some(who) && c.role == Role::Admin && !c.gone)
    }

    fn is_revoked(&self, who: u8) -> bool {
        self.revocations.iter().any(|(_, whom)| *whom == who)
    }

    fn fell(&mut self) {
        // A child falls with its parent.
        for n in 0..self.credentials.len() {
            let orphan = self.credentials[n]
                .parent
                .is_some_and(|p| self.credentials[p].gone);
            self.credentials[n].gone |= orphan;
        }
    }

    /// An admin revokes no admin, also one that is made later.
    fn outrank(&mut self) {
        let admins: BTreeSet<u8> = (2..=PEOPLE).filter(|n| self.is_admin(*n)).collect();
        let stands = |(by, whom): &(u8, u8)| *by == 1 || !admins.contains(whom);
        self.revocations.retain(stands);
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let who = 1..=PEOPLE;
        let role = (1usize..7).prop_map(|n| Role::ALL[n]);
        prop_oneof![
            4 => (who.clone(), 2..=PEOPLE, role.clone(), 1u32..100, 1u32..9, any::<bool>())
                .prop_map(|(by, to, role, hours, times, replaces)| {
                    let times = times.saturating_sub(4).max(1);
                    Step::Grant { by, to, role, hours, times, replaces }
                }),
            2 => (who.clone(), role, 1u32..3, 1u32..50)
                .prop_map(|(by, role, uses, hours)| Step::Invite { by, role, uses, hours }),
            3 => (2..=PEOPLE, 0usize..8).prop_map(|(joiner, which)| Step::Redeem { joiner, which }),
            1 => (who.clone(), who.clone(), any::<bool>(), any::<bool>())
                .prop_map(|(by, whom, all, pardon)| Step::Revoke { by, whom, all, pardon }),
            1 => who.clone().prop_map(|who| Step::Leave { who }),
            3 => who.prop_map(|by| Step::Write { by }),
            2 => (1u32..30).prop_map(|hours| Step::Pass { hours }),
        ]
        .boxed()
    }

    /// Of more redemptions than an invitation allows the lowest ids stand, which says
    /// nothing to a model; `invitations` tests that.
    fn preconditions(m: &Self, step: &Step) -> bool {
        let Step::Redeem { joiner, which } = *step else {
            return true;
        };
        let invite = m.invites.get(which % m.invites.len().max(1));
        invite.is_none_or(|(n, left)| {
            let mut all = m.credentials.iter();
            *left > 0 || all.any(|c| c.of == Some(joiner) && c.parent == Some(*n))
        })
    }

    fn apply(mut m: Self, step: &Step) -> Self {
        match *step {
            Step::Grant {
                by,
                to,
                role,
                hours,
                times,
                replaces,
            } => {
                for n in 0..times {
                    let Some((until, parent)) = m.right(by, |own| own.may_grant(role)) else {
                        break;
                    };
                    if by == to || m.gave(parent, to) {
                        return m;
                    }
                    m.credentials.push(Credential {
                        of: Some(to),
                        role,
                        until: until.min(m.hour + u64::from(hours + n)),
                        by,
                        parent,
                        gone: false,
                        given_back: false,
                        replaces: replaces && by == 1 && n + 1 == times,
                    });
                }
            }
            Step::Invite {
                by,
                role,
                uses,
                hours,
            } => {
                if let Some((until, parent)) = m.right(by, |own| own.may_invite(role)) {
                    let until = until.min(m.hour + u64::from(hours));
                    m.invites.push((m.credentials.len(), uses));
                    m.credentials.push(Credential {
                        of: None,
                        role,
                        until,
                        by,
                        parent,
                        gone: false,
                        given_back: false,
                        replaces: false,
                    });
                }
            }
            Step::Redeem { joiner, which } => {
                let which = which % m.invites.len().max(1);
                let Some((n, left)) = m.invites.get(which).copied() else {
                    return m;
                };
                let at = m.credentials[n].clone();
                let mut all = m.credentials.iter();
                let again = all.any(|c| c.of == Some(joiner) && c.parent == Some(n));
                let open = !at.gone && m.hour <= at.until && (left > 0 || again);
                if open && !m.is_revoked(joiner) && !m.gave(Some(n), joiner) {
                    m.invites[which].1 -= u32::from(!again);
                    m.credentials.push(Credential {
                        of: Some(joiner),
                        parent: Some(n),
                        by: joiner,
                        ..at
                    });
                }
            }
            Step::Revoke {
                by,
                whom,
                all,
                pardon,
            } => {
                if m.may_revoke(by, whom) {
                    m.revocations.insert((by, whom));
                    if all && pardon {
                        m.revocations.retain(|(by, _)| *by != whom);
                    }
                    for c in &mut m.credentials {
                        // Redemptions stay, to keep their place taken.
                        c.gone |= all && c.by == whom && c.of != Some(whom);
                    }
                    m.fell();
                }
            }
            Step::Leave { who } => {
                if !m.is_revoked(who) {
                    let own = m.credentials.iter_mut().filter(|c| c.of == Some(who));
                    own.for_each(|c| c.given_back = true);
                }
            }
            Step::Write { .. } => {}
            Step::Pass { hours } => m.hour += u64::from(hours),
        }
        m.outrank();
        m
    }
}

struct Real {
    l: Lone,
    invitations: Vec<Invitation>,
    keys: u8,
    made: u64,
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self {
            l: commune(),
            invitations: Vec::new(),
            keys: 120,
            made: 0,
        }
    }

    fn apply(mut real: Self, model: &Model, step: Step) -> Self {
        let l = &mut real.l;
        // A moment between any two deeds, so that none is made at the same time.
        l.now = WallMs(l.now.0 + 1);
        // What is given later ends later, so that no two of one hour are alike.
        let until = |hours: u32, made: u64| {
            let whole = HOUR * (model.hour as u32 + hours) + HOUR / 2;
            NOW.after(whole + Duration::from_millis(made))
        };
        match step {
            Step::Grant {
                by,
                to,
                role,
                hours,
                times,
                replaces,
            } => {
                for n in 0..times {
                    l.now = WallMs(l.now.0 + 1);
                    real.made += 1;
                    let new = NewGrant {
                        subject: id(to),
                        role,
                        until: until(hours + n, real.made),
                        kinds: [].into(),
                        renewable: false,
                        replaces: replaces && by == 1 && n + 1 == times,
                    };
                    _ = l.act(|g, now, out| g.grant(now, &key(by), new, out));
                }
            }
            Step::Invite {
                by,
                role,
                uses,
                hours,
            } => {
                real.made += 1;
                let new = NewInvite {
                    role,
                    uses,
                    until: until(hours, real.made),
                    member_until: until(hours * 2, real.made),
                    kinds: [].into(),
                    renewable: false,
                };
                real.keys += 1;
                let one_time = key(real.keys);
                let made = l.act(|g, now, out| g.invite(now, &key(by), new, &one_time, out));
                real.invitations.extend(made);
            }
            Step::Redeem { joiner, which } => {
                let count = real.invitations.len().max(1);
                if let Some(invitation) = real.invitations.get(which % count) {
                    let redeemed = |g: &mut samara_graph::Graph, now, out: &mut Vec<_>| {
                        g.redeem(now, &key(joiner), invitation, out)
                    };
                    _ = l.act(redeemed);
                }
            }
            Step::Revoke {
                by,
                whom,
                all,
                pardon,
            } => {
                let keep = match (all, pardon) {
                    (true, true) => Keep::Nothing,
                    (true, false) => Keep::Revocations,
                    _ => Keep::Known,
                };
                _ = l.act(|g, now, out| g.revoke(now, &key(by), id(whom), keep, out));
            }
            Step::Leave { who } => {
                let done = l.act(|g, now, out| g.leave(now, &key(who), out));
                let may = model.credentials.iter().any(|c| c.of == Some(who));
                assert!(done.is_err() || may, "{done:?}");
            }
            Step::Write { by } => {
                let draft = samara_graph::Draft {
                    kind: Kind(70_000),
                    key: Default::default(),
                    attributes: Default::default(),
                    body: Default::default(),
                    lifetime: HOUR,
                    priority: 0,
                };
                let done = l.act(|g, now, out| g.publish(now, &key(by), draft, out));
                let may = model.role(by).is_some_and(|role| role <= Role::Member);
                assert_eq!(done.is_ok(), may, "{done:?}");
            }
            Step::Pass { hours } => {
                l.pass(HOUR * hours);
            }
        }
        real
    }

    fn check_invariants(real: &Self, model: &Model) {
        for n in 1..=PEOPLE {
            let role = real.l.graph.role_of(&id(n), real.l.now);
            assert_eq!(role, model.role(n), "of {n}");
            assert_eq!(real.l.graph.is_revoked(&id(n)), model.is_revoked(n));
        }
        let members = real.l.graph.members(real.l.now);
        let with_role = members.iter().filter(|m| m.role.is_some()).count();
        assert_eq!(
            with_role,
            (1..=PEOPLE).filter(|n| model.role(*n).is_some()).count()
        );
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn roles_follow_from_what_was_done(sequential 1..40 => Real);
}
