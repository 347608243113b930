use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use samara_wire::{PeerId, RecordId};

use super::*;
use crate::{Attributes, Kind, Value};

/// 2025-01-01T00:00:00Z.
const NOW: WallMs = WallMs(1_735_689_600_000);

fn header() -> RecordHeader {
    let attributes = [
        ("lang", Value::Text("de".into())),
        ("count", Value::Int(-3)),
        ("done", Value::Bool(true)),
        ("raw", Value::Bytes([0, 255].into())),
        ("due", Value::Time(NOW.after(Duration::from_secs(3600)))),
    ];
    RecordHeader {
        id: RecordId([1; 32]),
        author: PeerId([2; 32]),
        kind: Kind::RELEASE,
        seq: 40,
        created: NOW.before(Duration::from_secs(86_400)),
        expires: NOW.after(Duration::from_secs(86_400)),
        priority: 5,
        len: 300,
        key: (*b"1.0").into(),
        attributes: Attributes::new(attributes.map(|(n, v)| (n.to_owned(), v))).unwrap(),
        control: None,
    }
}

#[test]
fn a_record_is_asked_for_by_each_of_its_fields() {
    let author = format!("author = {}", PeerId([2; 32]));
    let stranger = format!("author != {}", PeerId([2; 32]));
    for (query, holds) in [
        ("kind = release", true),
        ("kind = 256", true),
        ("kind >= 65536", false),
        ("kind != issue", true),
        (&*author, true),
        (&stranger, false),
        ("key = \"1.0\"", true),
        ("key = '1.0'", true),
        ("key = x\"312e30\"", true),
        ("key < \"2\"", true),
        ("seq <= 40", true),
        ("seq < 40", false),
        ("seq > -1", true),
        ("priority > 4", true),
        ("created > -25h", true),
        ("created > -23h", false),
        ("created <= 2024-12-31T00:00:00Z", true),
        ("created < 2024-12-31T01:00:00+01:00", false),
        ("expires < now", false),
        ("expires <= +1d", true),
        ("expires < 2d", true),
        ("attr.lang = \"de\"", true),
        ("attr.lang < \"en\"", true),
        ("attr.count = -3", true),
        ("attr.count >= 0", false),
        ("attr.done = true", true),
        ("attr.done != true", false),
        ("attr.raw = x\"00FF\"", true),
        ("attr.due > now", true),
        ("attr.due < 2025-01-01T02:00:00Z", true),
        // What is not there, and what is of another type, is neither equal nor not.
        ("attr.none = 1", false),
        ("attr.none != 1", false),
        ("not attr.none = 1", true),
        ("attr.count = \"-3\"", false),
        ("attr.count != \"-3\"", false),
        // And before or; not before and.
        ("kind = issue and seq = 1 or seq = 40", true),
        ("kind = issue and (seq = 1 or seq = 40)", false),
        ("not kind = issue and seq = 40", true),
        ("not (kind = issue or seq = 40)", false),
        ("not not seq=40", true),
        ("(((seq=40)))", true),
    ] {
        let parsed = Query::parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        assert_eq!(parsed.matches(&header(), NOW), holds, "{query}");
    }
}

#[test]
fn a_mistake_is_pointed_at() {
    for (query, column, says) in [
        ("", 1, "expected a field"),
        ("  ", 3, "found the end"),
        ("kind", 5, "expected =, !="),
        ("kind =", 7, "expected a value"),
        ("kind = release seq = 1", 16, "expected and, or, or the end"),
        ("kind = release und seq = 1", 16, "found \"und\""),
        ("(seq = 1", 9, "expected \")\""),
        ("(seq = 1 key = \"a\")", 10, "expected and, or, or \")\""),
        ("seq = 1)", 8, "found \")\""),
        ("size = 1", 1, "no field \"size\""),
        ("attr. = 1", 1, "no field \"attr.\""),
        ("attr.BIG = 1", 1, "no field \"attr.BIG\""),
        ("seq ! 1", 5, "expected !="),
        ("seq = 1 and key = \"abc", 19, "no closing quote"),
        ("key = \"abc\\", 7, "no closing quote"),
        ("key = abc", 7, "a text in quotes"),
        ("key = x\"0g\"", 7, "bytes like"),
        (
            "seq = \"1\"",
            7,
            "seq is compared with a number, not with a text",
        ),
        ("seq = 1d", 7, "a number"),
        ("seq = 9223372036854775808", 7, "out of range"),
        ("kind = releases", 8, "a name like release"),
        ("kind = 4294967296", 8, "out of range"),
        ("kind = -1", 8, "out of range"),
        ("author = abc", 10, "52 characters"),
        ("created > yesterday", 11, "a time like"),
        ("created > 1969-12-31T23:59:59Z", 11, "out of range"),
        ("created > 99999999w", 11, "out of range"),
        ("created > 2025-02-30T00:00:00Z", 11, "a time like"),
        ("attr.done < true", 11, "only be compared with = and !="),
        ("attr.lang = de", 13, "a text in quotes"),
        ("key = \"ü\" # seq", 11, "found '#'"),
    ] {
        let error = Query::parse(query).unwrap_err();
        assert_eq!(error.column, column, "{query}: {error}");
        assert!(error.to_string().contains(says), "{query}: {error}");
    }
    let before = format!("author < {}", PeerId([2; 32]));
    let error = Query::parse(&before).unwrap_err();
    assert_eq!(
        (error.column, error.problem),
        (8, QueryProblem::Unordered("an author"))
    );
}

#[test]
fn length_and_depth_have_edges() {
    let nested = |n: usize| format!("{}seq = 1{}", "(".repeat(n), ")".repeat(n));
    let denied = |n: usize| format!("{}seq = 1", "not ".repeat(n));
    let max = limits::MAX_QUERY_DEPTH;
    assert!(Query::parse(&nested(max)).is_ok());
    assert!(Query::parse(&denied(max)).is_ok());
    for deep in [nested(max + 1), denied(max + 1)] {
        let error = Query::parse(&deep).unwrap_err();
        assert_eq!(error.problem, QueryProblem::TooDeep, "{deep}");
    }
    // Beside each other they are not deep.
    let beside = vec!["(seq = 1)"; 2 * max].join(" or ");
    assert!(Query::parse(&beside).is_ok());

    let text = |n: usize| format!("key = \"{}\"", "k".repeat(n - 8));
    assert!(Query::parse(&text(limits::MAX_QUERY_BYTES)).is_ok());
    let error = Query::parse(&text(limits::MAX_QUERY_BYTES + 1)).unwrap_err();
    assert_eq!(error.problem, QueryProblem::TooLong);
    assert_eq!(error.column, limits::MAX_QUERY_BYTES + 1);
}

fn time() -> impl Strategy<Value = Literal> {
    // What RFC 3339 can say: up to the year 9999.
    prop_oneof![
        (0..253_402_300_800_000u64).prop_map(|ms| Literal::Time(WallMs(ms))),
        (-(limits::MAX_TIME_MS as i64)..=limits::MAX_TIME_MS as i64).prop_map(Literal::Ago),
        (-500..500i64).prop_map(|days| Literal::Ago(days * 86_400_000)),
    ]
}

fn ordering() -> impl Strategy<Value = Operator> {
    prop::sample::select(vec![
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
    ])
}

fn equality() -> impl Strategy<Value = Operator> {
    prop::sample::select(vec![Operator::Equal, Operator::NotEqual])
}

fn condition() -> impl Strategy<Value = Expr> {
    let kind = prop_oneof![any::<u32>(), 0..300u32].prop_map(|n| Literal::Kind(Kind(n)));
    let text = || any::<String>().prop_map(Literal::Text);
    let bytes = || vec(any::<u8>(), 0..9).prop_map(Literal::Bytes);
    let attribute = || "[a-z][a-z0-9_.-]{0,31}".prop_map(Field::Attribute);
    let ordered = prop_oneof![any::<i64>().prop_map(Literal::Int), time(), text(), bytes()];
    let seq = any::<i64>().prop_map(Literal::Int);
    prop_oneof![
        (Just(Field::Kind), ordering(), kind),
        (
            Just(Field::Author),
            equality(),
            any::<[u8; 32]>().prop_map(|id| Literal::Peer(PeerId(id)))
        ),
        (Just(Field::Key), ordering(), prop_oneof![text(), bytes()]),
        (
            prop::sample::select(vec![Field::Seq, Field::Priority]),
            ordering(),
            seq
        ),
        (
            prop::sample::select(vec![Field::Created, Field::Expires]),
            ordering(),
            time()
        ),
        (attribute(), ordering(), ordered),
        (
            attribute(),
            equality(),
            any::<bool>().prop_map(Literal::Bool)
        ),
    ]
    .prop_map(|(field, operator, literal)| {
        Expr::Is(Condition {
            field,
            operator,
            literal,
        })
    })
}

fn expr() -> impl Strategy<Value = Expr> {
    condition().prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(Expr::Or),
            vec(inner.clone(), 2..4).prop_map(Expr::And),
            inner.prop_map(|e| Expr::Not(Box::new(e))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(expr in expr()) {
        let query = Query(expr);
        let text = query.to_string();
        if text.len() <= limits::MAX_QUERY_BYTES {
            prop_assert_eq!(Query::parse(&text), Ok(query), "{}", text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        if let Err(error) = Query::parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column));
        }
    }

    #[test]
    fn no_row_of_words_makes_it_panic(words in vec(prop::sample::select(vec![
        "kind", "key", "seq", "created", "attr.a", "attr.", "=", "!=", "<", "!", "(", ")", "and",
        "or", "not", "release", "1", "-1", "-7d", "+", "-", "now", "true", "\"a\"", "'", "\"",
        "x\"00\"", "x", "2025-01-01T00:00:00Z", "9999999999999999999w", "ü", "\\",
    ]), 0..24)) {
        for glue in ["", " "] {
            let text = words.join(glue);
            match Query::parse(&text) {
                Ok(query) => {
                    query.matches(&header(), NOW);
                    prop_assert_eq!(Query::parse(&query.to_string()), Ok(query));
                }
                Err(e) => prop_assert!((1..=text.chars().count() + 1).contains(&e.column)),
            }
        }
    }
}
