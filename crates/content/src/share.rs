use std::collections::BTreeSet;

use samara_wire::{ContentId, PeerId};

use crate::{ChunkSet, Stripes, limits::MAX_SHARERS};

/// Which chunks and parity shards of a content the member `ours` keeps, when
/// `members` keep it together and nobody keeps all.
///
/// Every place in the stripes goes to one member, the same place of every stripe; so
/// that who is away takes one chunk or shard of each stripe along, not all of one.
/// Rendezvous hashing over (content, member, place) with bounded loads: the pair with
/// the lowest hash comes first, and nobody gets more than his part, rounded up. All
/// who know the same members compute the same, and when one comes or goes few places
/// change hands. Empty if `ours` is not among them, or if there are more members than
/// places and none fell to it.
pub fn share_of(
    stripes: &Stripes,
    content: &ContentId,
    members: &BTreeSet<PeerId>,
    ours: &PeerId,
) -> ChunkSet {
    let mut share = ChunkSet::new(stripes.all());
    let ours = places(stripes.parity().width(), content, members, ours);
    for number in (0..stripes.all()).filter(|n| ours.contains(&stripes.position(*n))) {
        share.insert(number);
    }
    share
}

/// The places in a stripe that fall to `ours`.
fn places(
    width: u32,
    content: &ContentId,
    members: &BTreeSet<PeerId>,
    ours: &PeerId,
) -> BTreeSet<u32> {
    let hasher = |member: &PeerId| {
        let mut hasher = blake3::Hasher::new_derive_key("samara share v1");
        hasher.update(content.as_bytes());
        hasher.update(member.as_bytes());
        hasher
    };
    let mut members: Vec<(blake3::Hasher, &PeerId)> = members
        .iter()
        .map(|member| (hasher(member), member))
        .collect();
    if members.len() > MAX_SHARERS {
        members.sort_by_key(|(hasher, _)| *hasher.finalize().as_bytes());
        members.truncate(MAX_SHARERS);
    }
    let most = (width as usize).div_ceil(members.len().max(1));
    let mut pairs: Vec<([u8; 32], usize, u32)> = Vec::new();
    for (number, (of_member, _)) in members.iter().enumerate() {
        for place in 0..width {
            let hash = of_member.clone().update(&place.to_le_bytes()).finalize();
            pairs.push((*hash.as_bytes(), number, place));
        }
    }
    pairs.sort_unstable();
    let mut loads = vec![0; members.len()];
    let mut taken = vec![false; width as usize];
    let mut found = BTreeSet::new();
    let us = members.iter().position(|(_, member)| *member == ours);
    for (_, member, place) in pairs {
        if loads[member] == most || std::mem::replace(&mut taken[place as usize], true) {
            continue;
        }
        loads[member] += 1;
        if Some(member) == us {
            found.insert(place);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u8) -> BTreeSet<PeerId> {
        (0..count).map(|n| PeerId([n; 32])).collect()
    }

    fn all(width: u32, content: u8, members: &BTreeSet<PeerId>) -> Vec<BTreeSet<u32>> {
        let content = ContentId([content; 32]);
        let of = |member| places(width, &content, members, member);
        members.iter().map(of).collect()
    }

    #[test]
    fn every_place_falls_to_one_and_nobody_gets_more_than_his_part() {
        for (width, count) in [(30, 30), (30, 7), (6, 30), (256, 3), (5, 1)] {
            for content in 0..4 {
                let found = all(width, content, &members(count));
                let most = width.div_ceil(count.into()) as usize;
                assert!(found.iter().all(|places| places.len() <= most));
                let mut places: Vec<u32> = found.into_iter().flatten().collect();
                places.sort_unstable();
                assert_eq!(places, (0..width).collect::<Vec<_>>());
            }
        }
        assert!(all(30, 0, &members(0)).is_empty());
        let stranger = PeerId([99; 32]);
        assert!(places(30, &ContentId([0; 32]), &members(3), &stranger).is_empty());
    }

    #[test]
    fn of_very_many_members_some_share() {
        let peer = |n: u16| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&n.to_be_bytes());
            PeerId(id)
        };
        for count in [256, 257, 300] {
            let members: BTreeSet<PeerId> = (0..count).map(peer).collect();
            let sharing = all(256, 1, &members);
            let sharing = sharing.iter().filter(|places| places.len() == 1).count();
            assert_eq!(sharing, 256);
        }
    }

    #[test]
    fn contents_are_spread_differently_and_a_newcomer_changes_little() {
        let (thirty, more) = (members(30), members(31));
        let mut moved = 0;
        for content in 0..20 {
            let before = all(30, content, &thirty);
            assert_ne!(before, all(30, content + 100, &thirty));
            let after = all(30, content, &more);
            moved += before.iter().zip(&after).filter(|(b, a)| b != a).count();
        }
        assert!(moved < 20 * 10, "{moved} of 600");
    }

    #[test]
    fn a_share_has_the_same_place_of_every_stripe() {
        let params = crate::ChunkParams::fixed(4096, "4/2".parse().unwrap()).unwrap();
        let stripes = Stripes::of(params, 5 * 4096).unwrap().unwrap();
        let members = members(6);
        let mut shares = ChunkSet::new(stripes.all());
        for member in &members {
            let share = share_of(&stripes, &ContentId([7; 32]), &members, member);
            // The second chunk of the last of three stripes does not exist.
            assert!((2..=3).contains(&share.count()), "{}", share.count());
            shares.union_with(&share);
        }
        assert!(shares.is_full());
    }
}
