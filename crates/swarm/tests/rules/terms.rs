use samara_content::ChunkSet;
use samara_swarm::{Action, Event, Message, Order, Role};

use crate::node::*;

fn change(node: &mut Node, role: Role) -> Vec<Action> {
    node.tell(Event::TermsChanged {
        key: KEY,
        role,
        priority: 0,
        order: Order::Rarest,
    })
}

fn cancels(out: &[Action]) -> usize {
    let cancel = |a: &&Action| matches!(a, Action::Cancel { .. });
    out.iter().filter(cancel).count()
}

#[test]
fn what_is_paused_asks_for_nothing_until_it_goes_on() {
    let mut node = Node::receiver(4);
    node.join_with(A, ChunkSet::full(4));
    assert_eq!(requests(&node.hear(A, grant(2))).len(), 2);
    let out = change(&mut node, Role::Paused);
    assert!(cancels(&out) > 0);
    assert!(messages(&out).contains(&(A, Message::Want(0))));
    assert_eq!(node.swarm.progress(KEY).unwrap().in_flight_bytes, 0);

    // Credit that was on its way goes back; nothing else makes it ask.
    let out = node.hear(A, grant(2));
    assert!(requests(&out).is_empty());
    assert!(messages(&out).contains(&(A, Message::Release(2000))));
    assert!(messages(&node.join_with(B, ChunkSet::full(4))).is_empty());
    assert!(messages(&node.hear(A, Message::HaveMore(vec![1]))).is_empty());
    assert!(node.wait(std::time::Duration::from_secs(60)).is_empty());
    assert_eq!(node.swarm.next_timeout(), None);

    let out = change(&mut node, Role::Member);
    assert!(messages(&out).contains(&(A, Message::Want(4000))));
    assert!(messages(&out).contains(&(B, Message::Want(4000))));
    assert_eq!(requests(&node.hear(A, grant(2))).len(), 2);
}

#[test]
fn who_stops_serving_says_so_and_takes_its_credit_back() {
    for role in [Role::Leech, Role::Paused] {
        let mut node = Node::seeder(8);
        node.join(A);
        assert!(!grants(&node.hear(A, Message::Want(8000))).is_empty());
        let out = change(&mut node, role);
        assert!(messages(&out).contains(&(A, Message::Have(ChunkSet::new(8)))));
        assert!(is_refused(&node.ask(A, &[0])));
        assert!(grants(&node.hear(A, Message::Want(8000))).is_empty());
        assert!(messages(&node.join(B)).is_empty(), "{role:?} announces");

        let out = change(&mut node, Role::Member);
        for peer in [A, B] {
            assert!(messages(&out).contains(&(peer, Message::Have(ChunkSet::full(8)))));
        }
        assert!(!grants(&out).is_empty(), "A still wants all of it");
        assert!(is_served(&node.ask(A, &[0])));
    }
}

#[test]
fn a_leech_fetches_and_announces_nothing() {
    let mut node = Node::with(Given {
        role: Role::Leech,
        ..Given::new(4, set(4, [0]))
    });
    let out = node.join(A);
    assert_eq!(messages(&out), [(A, Message::Want(3000))]);
    node.hear(A, Message::Have(ChunkSet::full(4)));
    let asked = requests(&node.hear(A, grant(1)));
    node.arrive(A, asked[0].2);
    node.store(asked[0].2);
    let said = messages(&node.wait(std::time::Duration::from_secs(1)));
    assert!(
        !said
            .iter()
            .any(|(_, msg)| matches!(msg, Message::HaveMore(_))),
        "{said:?}"
    );
}

#[test]
fn fewer_places_count_for_the_next_grant() {
    let mut node = Node::seeder(64);
    node.swarm.set_upload_slots(1);
    node.join(A);
    node.join(B);
    assert!(!grants(&node.hear(A, Message::Want(64_000))).is_empty());
    assert!(grants(&node.hear(B, Message::Want(64_000))).is_empty());
    node.swarm.set_upload_slots(2);
    let out = node.hear(B, Message::Want(64_000));
    assert_eq!(grants(&out)[0].0, B);
}
