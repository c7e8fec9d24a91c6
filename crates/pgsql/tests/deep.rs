//! Deep and long statements are planned or refused, on the stack of an ordinary thread.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use pgsql::{Catalog, Context, Limits, MaskTable, plan};

const TABLE: &str = r#"{"version":150000,"database":"d","role":"r","search_path":["public"],"functions":[],"operators":[],"types":[],
"foreign_casts":0,"relations":{"1":{"oid":1,"schema":"public","name":"t","kind":"Table","temporary":false,"partition":false,
"columns":[{"attnum":1,"name":"a","type_oid":23,"type_sql":"integer","builtin":"int4","not_null":false,"generated":false,"unique":false}],
"parents":[],"children":[],"depends_on":[],"foreign_keys":[],"triggers":false,"rules":false}}}"#;

fn on_2_mib<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(step).unwrap().join().unwrap()
}

#[test]
fn no_depth_exhausts_a_stack() {
    let nested =
        |n: usize, open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let mut texts = Vec::new();
    for n in [10, 100, 200, 300, 400, 480, 900, 3_000, 20_000] {
        texts.push(format!("SELECT {}1", "1+".repeat(n)));
        texts.push(format!("SELECT a FROM t WHERE {}", nested(n, "NOT (", "a = 1", ")")));
        texts.push(nested(n, "SELECT * FROM (", "SELECT a FROM t", ") s"));
        texts.push(format!("SELECT {}", nested(n, "(SELECT ", "a FROM t", ")")));
        texts.push(format!("SELECT {}", nested(n, "lower(", "'a'", ")")));
        texts.push(format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n)));
        texts.push(format!("SELECT 1 FROM t {}", "JOIN t ON true ".repeat(n)));
        texts.push(format!("SELECT 1 FROM t WHERE a IN (1{})", ", 1".repeat(n)));
        texts.push(nested(n, "WITH x AS (", "SELECT a FROM t", ") SELECT 1"));
        texts.push(format!("EXPLAIN {}", nested(n, "SELECT * FROM (", "SELECT a FROM t", ") s")));
    }
    let planned = on_2_mib(move || {
        let catalog = Catalog::from_json(TABLE).unwrap();
        let masks = MaskTable::default();
        let ctx = Context { catalog: &catalog, masks: &masks, limits: Limits::default() };
        texts.iter().filter(|sql| plan(sql, &ctx).is_ok()).count()
    });
    println!("{planned}");
    assert!(planned > 25, "{planned}");
}
