//! Statements of one database, mixed: the bytes choose a statement, and at each of its expressions whether another one,
//! of any statement, takes its place.

use std::sync::OnceLock;

use pg_raw_parse::transform::{Transform as _, TransformClosure};
use pg_raw_parse::{Node, NodeMut, make};
use pgsql::visit::{Next, walk};
use pgsql::{Limits, Parsed, parse};

/// A constant that stands against a masked column wherever it is put.
pub(super) const HIDDEN: &str = "HIDDENVALUE";

/// Beside the statements of `canary.sql`.
const MORE: &[&str] = &[
    "SELECT id FROM plain WHERE EXISTS (SELECT 1 FROM users hidden WHERE hidden.ssn = 'HIDDENVALUE')",
    "SELECT id FROM plain WHERE (SELECT count(hidden.id) FROM users hidden WHERE hidden.email LIKE 'HIDDENVALUE%') > 0",
    "SELECT id FROM plain WHERE 1 IN (SELECT hidden.id FROM app.events hidden WHERE lower(hidden.secret) IN ('a', 'HIDDENVALUE'))",
    "SELECT name FROM plain WHERE (a OR flag OR at IS NULL) IS NULL",
    "SELECT name FROM plain WHERE (flag = true) IN (true) AND (id = 1) BETWEEN false AND true",
    "SELECT (name || email) COLLATE \"C\", - id, NOT flag, (ARRAY[1, 2])[1], id::text FROM plain",
    "SELECT at AT TIME ZONE 'UTC', id IS DISTINCT FROM 3, name LIKE 'x' ESCAPE '!' FROM plain",
    "SELECT CASE WHEN flag THEN 1 ELSE id END, coalesce(name, email), nullif(id, 1), greatest(id, 2) FROM plain",
    "SELECT row_number() OVER (PARTITION BY name ORDER BY id DESC) FROM plain GROUP BY id, name HAVING count(id) > 1",
    "WITH a AS (SELECT id, name FROM plain), b AS (SELECT id FROM a WHERE id > 1) SELECT a.name FROM a JOIN b ON a.id = b.id",
    "SELECT p.name, o.total FROM plain p LEFT JOIN orders o ON o.user_id = p.id WHERE o.total > 3 ORDER BY 1 LIMIT 3 OFFSET 1",
    "SELECT l.id FROM users u, LATERAL (SELECT o.id FROM orders o WHERE o.user_id = u.id AND u.name = 'x') l",
    "INSERT INTO plain (id, name, email) VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    "INSERT INTO plain (id, name) SELECT id, name FROM users WHERE id > 3 RETURNING id",
    "UPDATE plain SET name = u.name, flag = (u.id > 1) FROM users u WHERE u.id = plain.id",
    "UPDATE users SET name = 'x', ssn = 'y' WHERE id = 4",
    "UPDATE orders SET (total, note) = (SELECT id, name FROM plain WHERE id = 1) WHERE id = 2 RETURNING total",
    "DELETE FROM plain USING users u WHERE u.id = plain.id AND u.ssn IS NOT NULL",
    "DELETE FROM users WHERE id = 4 RETURNING id",
    "SELECT id FROM plain UNION ALL SELECT id FROM users EXCEPT SELECT user_id FROM orders",
    "SELECT u.id FROM ONLY users u WHERE u.id = ANY (ARRAY[1, 2]) AND (u.id, u.name) = (1, 'x')",
    "EXPLAIN SELECT id FROM users WHERE id = 1",
    "DECLARE c CURSOR FOR SELECT id, email FROM users",
    "COPY (SELECT id, ssn FROM users WHERE id > 0) TO STDOUT",
    "VALUES (1, 'a'), (2, 'b')",
];

struct Pool {
    statements: Vec<Parsed>,
    expressions: Vec<Parsed>,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let lines = include_str!("../data/canary.sql").lines().filter(|line| !line.starts_with("--"));
        let texts = MORE.iter().copied().chain(lines.filter(|line| !line.is_empty()));
        let all: Vec<Parsed> = texts
            .filter_map(|text| parse(text, &Limits::default()).ok())
            .filter(|parsed| parsed.counts().nodes < 120 && mixes(parsed.root()))
            .collect();
        let mut found = Vec::new();
        for statement in &all {
            walk(statement.root(), &Limits::default(), |visit| {
                if expression(visit.node) && walk(visit.node, &Limits::default(), |_| Ok(Next::Into))?.nodes < 30 {
                    found.extend(alone(visit.node));
                }
                Ok(Next::Into)
            })
            .expect("what was read is walked");
        }
        // What stands against the hidden constant stays there.
        let statements: Vec<Parsed> = all.into_iter().filter(|parsed| !parsed.text().contains(HIDDEN)).collect();
        assert!(statements.len() > 200 && found.len() > 500, "{} {}", statements.len(), found.len());
        Pool { statements, expressions: found }
    })
}

/// Each of its own, so that it needs nothing of the statement that it is of.
fn alone(node: Node<'_>) -> Option<Parsed> {
    let parsed = parse("SELECT 1", &Limits::default()).expect("a statement");
    let of_node = make::owned(|memory| {
        let mut copy = memory.make_unique(parsed.raw().expect("a statement"));
        TransformClosure::new(|inner| match &*inner {
            NodeMut::A_Const(_) => {
                inner.replace(memory.make_unique(node).uncast());
                None
            }
            _ => Some(inner),
        })
        .transform_raw_stmt(copy.as_mut());
        copy
    });
    let text = pg_raw_parse::deparse(&*of_node).ok()?.as_str().to_owned();
    parse(&text, &Limits::default()).ok()
}

fn mixes(root: Node<'_>) -> bool {
    matches!(
        root,
        Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::ExplainStmt(_)
            | Node::DeclareCursorStmt(_)
            | Node::CopyStmt(_)
    )
}

fn expression(node: Node<'_>) -> bool {
    matches!(
        node,
        Node::A_Expr(_)
            | Node::BoolExpr(_)
            | Node::NullTest(_)
            | Node::BooleanTest(_)
            | Node::SubLink(_)
            | Node::CaseExpr(_)
            | Node::CoalesceExpr(_)
            | Node::CollateClause(_)
            | Node::TypeCast(_)
            | Node::A_Indirection(_)
            | Node::FuncCall(_)
            | Node::RowExpr(_)
            | Node::A_ArrayExpr(_)
            | Node::ColumnRef(_)
    )
}

/// Two bytes choose the statement; then there is one for each expression, and two more where it is exchanged.
pub(super) fn text(data: &[u8]) -> Option<String> {
    let pool = pool();
    let [high, low, choices @ ..] = data else { return None };
    let statement = pool.statements.get(place(*high, *low, pool.statements.len()))?;
    let mut choices = choices.iter().copied();
    let meant = make::owned(|memory| {
        let mut copy = memory.make_unique(statement.raw().expect("a statement"));
        TransformClosure::new(|node| {
            // Constants and calls stand in places that take nothing else, where the deparser would trust in it.
            let at_expression = matches!(
                &*node,
                NodeMut::ColumnRef(_)
                    | NodeMut::A_Expr(_)
                    | NodeMut::BoolExpr(_)
                    | NodeMut::NullTest(_)
                    | NodeMut::SubLink(_)
            );
            if !at_expression || choices.next().is_none_or(|choice| choice % 4 != 3) {
                return Some(node);
            }
            let (Some(high), Some(low)) = (choices.next(), choices.next()) else { return Some(node) };
            let donor = pool.expressions.get(place(high, low, pool.expressions.len())).map(Parsed::root);
            let Some(Node::SelectStmt(donor)) = donor else { return Some(node) };
            let Some(target) = donor.target_list().first() else { return Some(node) };
            node.replace(memory.make_unique(target.val()).uncast());
            None
        })
        .transform_raw_stmt(copy.as_mut());
        copy
    });
    // What is wrong in it is what an agent might have written: any text will do.
    Some(pg_raw_parse::deparse(&*meant).ok()?.as_str().to_owned())
}

fn place(high: u8, low: u8, of: usize) -> usize {
    usize::from(u16::from_be_bytes([high, low])) % of
}
