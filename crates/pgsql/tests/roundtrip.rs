//! No text leaves [`pgsql::render`] whose tree is not the tree that was meant.
//!
//! The oracle is the printed form of both trees without byte offsets; it shares no code with the comparison.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic, reason = "test helpers")]

mod corpus;

use std::collections::BTreeMap;

use corpus::{on_stack, statements};
use pg_raw_parse::transform::{Transform, TransformClosure};
use pg_raw_parse::{Node, NodeMut, Owned, make, nodes};
use pgsql::render::{Edit, render, render_checked};
use pgsql::visit::{Next, walk};
use pgsql::{Limits, Parsed, parse};

fn printed(node: Node<'_>) -> String {
    without_locations(&format!("{node:?}"))
}

/// The printed tree without the byte offsets.
fn without_locations(debug: &str) -> String {
    let mut out = String::with_capacity(debug.len());
    let mut rest = debug;
    while let Some((before, number)) = rest.split_once(": ") {
        out.push_str(before);
        out.push_str(": ");
        let field = &before[before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |n| n + 1)..];
        rest = if field.ends_with("location")
            || field.ends_with("_start")
            || field.ends_with("_end")
            || field == "stmt_len"
        {
            number.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit())
        } else {
            number
        };
    }
    out + rest
}

#[test]
fn the_corpus_comes_back_equal_or_not_at_all() {
    on_stack(256 << 20, || {
        let limits = Limits::default();
        let (mut parsed_count, mut equal, mut unparsed, mut refused) = (0, 0, BTreeMap::new(), BTreeMap::new());
        for text in statements() {
            let parsed = match parse(&text, &limits) {
                Ok(parsed) => parsed,
                Err(error) => {
                    *unparsed.entry(error.reason).or_insert(0) += 1;
                    continue;
                }
            };
            if parsed.is_empty() {
                continue;
            }
            parsed_count += 1;
            match render(parsed.root(), &limits) {
                Ok(rendered) => {
                    let again = parse(&rendered, &limits).unwrap();
                    assert_eq!(printed(parsed.root()), printed(again.root()), "{text}\n{rendered}");
                    equal += 1;
                }
                Err(error) => refused.entry(error.reason).or_insert_with(Vec::new).push(text.clone()),
            }
            // The text itself is what the second way falls back to, whatever the deparser does.
            if !text.contains(['\\', '$']) && !text.contains("--") && !text.contains("/*") && !text.contains("&") {
                render_checked(parsed.root(), &parsed, &[], &limits).unwrap();
            }
        }
        println!("{parsed_count} parsed, {equal} equal, unparsed {unparsed:#?}, refused {refused:#?}");
        assert!(parsed_count > 40_000);
        assert!(refused.values().flatten().count() <= 1, "{refused:#?}");
    });
}

/// A small generator with a fixed seed: a failure can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

/// `statement` with about half of its columns replaced by expressions from elsewhere.
fn mixed(statement: &Parsed, expressions: &[Node<'_>], dice: &mut Dice) -> Owned<nodes::RawStmt> {
    make::owned(|memory| {
        let mut copy = memory.make_unique(statement.raw().unwrap());
        TransformClosure::new(|node| match &*node {
            NodeMut::ColumnRef(_) if dice.below(2) == 0 => {
                node.replace(memory.make_unique(expressions[dice.below(expressions.len())]).uncast());
                None
            }
            _ => Some(node),
        })
        .transform_raw_stmt(copy.as_mut());
        copy
    })
}

#[test]
fn every_wrong_deparse_of_mixed_expressions_is_caught() {
    on_stack(256 << 20, || {
        let limits = Limits::default();
        let queries: Vec<Parsed> = statements()
            .iter()
            .filter_map(|text| parse(text, &limits).ok())
            .filter(|parsed| {
                parsed.counts().nodes < 60
                    && matches!(
                        parsed.root(),
                        Node::SelectStmt(_)
                            | Node::InsertStmt(_)
                            | Node::UpdateStmt(_)
                            | Node::DeleteStmt(_)
                            | Node::MergeStmt(_)
                    )
            })
            .collect();
        let mut expressions = Vec::new();
        for query in &queries {
            walk(query.root(), &limits, |visit| {
                let expression = matches!(
                    visit.node,
                    Node::A_Expr(_)
                        | Node::BoolExpr(_)
                        | Node::NullTest(_)
                        | Node::BooleanTest(_)
                        | Node::SubLink(_)
                        | Node::CaseExpr(_)
                        | Node::CollateClause(_)
                        | Node::TypeCast(_)
                        | Node::A_Indirection(_)
                        | Node::FuncCall(_)
                        | Node::RowExpr(_)
                        | Node::A_ArrayExpr(_)
                );
                if expression && walk(visit.node, &limits, |_| Ok(Next::Into))?.nodes < 12 {
                    expressions.push(visit.node);
                }
                Ok(Next::Into)
            })
            .unwrap();
        }
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (mut equal, mut changed, mut broken) = (0, 0, 0);
        for _ in 0..40_000 {
            let meant = mixed(&queries[dice.below(queries.len())], &expressions, &mut dice);
            let wanted = printed(meant.stmt());
            // What the deparser says, judged without our comparison.
            let text = pg_raw_parse::deparse(&*meant).ok().map(|text| text.as_str().to_owned());
            let right = match text.as_deref().map(pg_raw_parse::parse) {
                Some(Ok(again)) => match again.stmts().next() {
                    Some(stmt) if printed(stmt) == wanted => {
                        equal += 1;
                        true
                    }
                    _ => {
                        changed += 1;
                        false
                    }
                },
                _ => {
                    broken += 1;
                    false
                }
            };
            let rendered = render(Node::RawStmt(&meant), &limits).ok();
            assert_eq!(rendered.is_some(), right, "{text:?} {rendered:?}");
            assert_eq!(rendered, text.filter(|_| right));
        }
        println!(
            "{} queries, {} expressions: {equal} equal, {changed} changed, {broken} broken",
            queries.len(),
            expressions.len()
        );
        assert!(equal > 30_000 && changed > 50 && broken > 5);
    });
}

/// The places where the deparser loses parentheses.
#[test]
fn lost_parentheses_are_caught_and_the_text_stands_in() {
    let limits = Limits::default();
    let inner = ["a OR b OR c", "a AND b", "NOT a", "a = 1", "a < b", "a IS NULL", "a + b", "a || b", "a::text", "-a"];
    let outer = [
        "(?) IS NULL",
        "(?) IS NOT TRUE",
        "(?) IN (true)",
        "(?) LIKE 'x'",
        "(?) BETWEEN 1 AND 2",
        "(?) COLLATE \"C\" = 'x'",
        "(?) IS DISTINCT FROM d",
        "now() AT TIME ZONE (?) = d",
        "((?))[1] = d",
        "(?) = ANY (d)",
        "((?)).f = d",
    ];
    let mut caught = 0;
    for outer in outer {
        for inner in inner {
            let text = format!("DELETE FROM t WHERE {}", outer.replace('?', inner));
            let parsed = parse(&text, &limits).unwrap();
            match render(parsed.root(), &limits) {
                Ok(rendered) => {
                    assert_eq!(printed(parsed.root()), printed(parse(&rendered, &limits).unwrap().root()), "{text}");
                }
                Err(_) => caught += 1,
            }
            let checked = render_checked(parsed.root(), &parsed, &[], &limits).unwrap();
            assert_eq!(printed(parsed.root()), printed(parse(&checked, &limits).unwrap().root()), "{text}");
        }
    }
    println!("{caught} of {} caught", outer.len() * inner.len());
    assert!(caught > 0, "the deparser has become right: the second way may go");
}

/// `t` replaced by a sub-select, as a mask does.
fn masked(source: &Parsed) -> Owned<nodes::RawStmt> {
    let template = parse("SELECT FROM (SELECT a, NULL::text AS b FROM s.t) AS t", &Limits::default()).unwrap();
    let Node::SelectStmt(template) = template.root() else { panic!("a SELECT") };
    make::owned(|memory| {
        let mut copy = memory.make_unique(source.raw().unwrap());
        TransformClosure::new(|node| match &*node {
            NodeMut::RangeVar(_) => {
                node.replace(memory.make_unique(template.from_clause().first().unwrap()).uncast());
                None
            }
            _ => Some(node),
        })
        .transform_raw_stmt(copy.as_mut());
        copy
    })
}

#[test]
fn the_second_way_writes_the_change_where_the_first_fails() {
    let limits = Limits::default();
    let mask = "(SELECT a, NULL::text AS b FROM s.t) AS t";
    let edits = |source: &str| {
        let location = i32::try_from(source.find(" t ").unwrap() + 1).unwrap();
        [Edit { location, names: 1, star: true, text: mask.to_owned() }]
    };
    for (source, first) in [
        ("SELECT b FROM t WHERE a = 1", true),
        ("SELECT b FROM t WHERE (a OR b) IS NULL", false),
        ("SELECT b FROM t * WHERE (a = 1) IN (true)", false),
    ] {
        let parsed = parse(source, &limits).unwrap();
        let meant = masked(&parsed);
        assert_eq!(render(Node::RawStmt(&meant), &limits).is_ok(), first, "{source}");
        let text = render_checked(Node::RawStmt(&meant), &parsed, &edits(source), &limits).unwrap();
        assert_eq!(printed(meant.stmt()), printed(parse(&text, &limits).unwrap().root()), "{text}");
        assert_eq!(text.contains("(SELECT a, NULL::text AS b FROM s.t) t"), first, "{text}");
    }
    // Neither way: a comment forbids the splice, or the edits do not make the tree that was meant.
    let parsed = parse("SELECT b /* c */ FROM t WHERE (a OR b) IS NULL", &limits).unwrap();
    let meant = masked(&parsed);
    assert!(render_checked(Node::RawStmt(&meant), &parsed, &edits(parsed.text()), &limits).is_err());
    let parsed = parse("SELECT b FROM t WHERE (a OR b) IS NULL", &limits).unwrap();
    let meant = masked(&parsed);
    assert!(render_checked(Node::RawStmt(&meant), &parsed, &[], &limits).is_err());
    let [edit] = edits(parsed.text());
    let other = Edit { text: edit.text.replace("NULL::text", "b"), ..edit };
    assert!(render_checked(Node::RawStmt(&meant), &parsed, &[other], &limits).is_err());
}

const DEEP: [(&str, &str, &str, &str); 12] = [
    ("SELECT 1", "+1", "", ""),
    ("SELECT 1", " UNION ALL SELECT 1", "", ""),
    ("SELECT a", "::int", "", ""),
    ("SELECT a", "[1].b", "", ""),
    ("SELECT ", "NOT ", "a", ""),
    ("SELECT ", "- ", "1", ""),
    ("SELECT ", "(", "1", ")"),
    ("SELECT ", "ARRAY[", "1", "]"),
    ("SELECT ", "f(", "1", ")"),
    ("SELECT ", "(SELECT ", "1", ")"),
    ("SELECT 1 FROM t", " JOIN t ON a", "", ""),
    ("SELECT 1 WHERE ", "EXISTS (SELECT 1 WHERE ", "a", ")"),
];

fn deep((start, open, middle, close): (&str, &str, &str, &str), times: usize) -> String {
    format!("{start}{}{middle}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn depth_is_a_refusal_never_an_abort_on_a_2_mib_stack() {
    on_stack(2 << 20, || {
        let limits = Limits { bytes: 16 << 20, nodes: 10_000_000, ..Limits::default() };
        for form in DEEP {
            for times in [1_001, 3_000, 10_000, 30_000, 100_000] {
                let refused = parse(&deep(form, times), &limits);
                // Redundant parentheses and lists of names leave no nodes; those stay shallow.
                match refused {
                    Err(_) => {}
                    Ok(parsed) => assert!(parsed.counts().depth <= 1_000, "{form:?} {times}"),
                }
            }
        }
        // Left-recursive in the grammar: the C parser itself takes any length of these.
        for form in [DEEP[0], DEEP[1], DEEP[2], DEEP[10]] {
            let refused = parse(&deep(form, 100_000), &limits).unwrap_err();
            assert_eq!(refused.reason, "the statement nests deeper than 1000 levels", "{form:?}");
        }
    });
}

#[test]
fn what_the_limits_allow_is_rendered_on_a_2_mib_stack() {
    on_stack(2 << 20, || {
        let limits = Limits::default();
        for form in DEEP {
            let mut rendered = 0;
            for times in [100, 300, 490, 900, 990] {
                let Ok(parsed) = parse(&deep(form, times), &limits) else { continue };
                let copy = make::owned(|memory| memory.make_unique(parsed.raw().unwrap()));
                if let Ok(text) = render(Node::RawStmt(&copy), &limits) {
                    rendered += 1;
                    assert!(parse(&text, &limits).is_ok());
                }
            }
            assert!(rendered > 0, "{form:?}");
        }
    });
}

#[test]
fn size_is_a_refusal() {
    let limits = Limits::default();
    let reason = |text: &str| parse(text, &limits).unwrap_err().reason;
    assert_eq!(reason(&"x".repeat(256 * 1024 + 1)), "the statement is larger than 262144 bytes");
    assert_eq!(reason(&format!("SELECT {}1", "a,".repeat(100_000))), "the statement has more than 250000 parts");
    assert_eq!(reason("SELECT 1\0"), "the statement contains a zero byte");
    assert_eq!(reason("SELECT 1; SELECT 2"), "several statements in one message");
    assert!(parse(&format!("SELECT {}1", "1,".repeat(50_000)), &limits).is_ok());
}

#[test]
fn refusals_hold_no_value_of_the_statement() {
    let limits = Limits::default();
    for text in [
        "SELECT 's3cret' FROM FROM s3cret",
        "SELECT s3cret.s3cret.s3cret.s3cret.s3cret.* FROM s3cret.s3cret.s3cret.s3cret",
        "SELECT * FROM s3cret.s3cret.s3cret",
        "CREATE STATISTICS s3cret ON a, b FROM (s3cret JOIN s3cret USING (a))",
        "CREATE FOREIGN TABLE s3cret (a int) SERVER s3cret",
        "GRANT ALL ON SCHEMA s3cret TO s3cret",
        "SET s3cret TO $1",
        "SELECT $0 AS s3cret",
        "SELECT 's3cret",
        "SELECT 's3cret'; SELECT 's3cret'",
    ] {
        let refused = parse(text, &limits).unwrap_err();
        assert!(!format!("{refused:?}").contains("s3cret"), "{refused:?}");
    }
    let parsed = parse("SELECT 's3cret' FROM s3cret", &limits).unwrap();
    assert!(!format!("{parsed:?}").contains("s3cret"));
}

#[test]
fn no_statement_is_not_an_error() {
    for text in ["", " \n", ";", "-- nothing", "/* nothing */ ;;"] {
        let parsed = parse(text, &Limits::default()).unwrap();
        assert!(parsed.is_empty() && matches!(parsed.root(), Node::None), "{text:?}");
    }
}

#[test]
fn a_parsed_statement_moves_between_threads() {
    let parsed = parse("SELECT a FROM t", &Limits::default()).unwrap();
    let text = std::thread::spawn(move || render(parsed.root(), &Limits::default())).join().unwrap();
    assert_eq!(text.unwrap(), "SELECT a FROM t");
}
