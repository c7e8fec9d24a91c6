//! The texts that read a catalog.
//!
//! Each returns one column of type `text`: one JSON object for each row. They run in this order inside one
//! `REPEATABLE READ READ ONLY` transaction, under the pinned `search_path`. They work on PostgreSQL 14 to 18, name every
//! object with its schema, and are bounded by `LIMIT`; a result that reaches the bound is an error in `rows`.

mod deep;

/// One text for each part, in the order that [`super::Catalog::from_rows`] expects.
pub const SNAPSHOT: &[&str] = &[
    SERVER,
    RELATIONS,
    COLUMNS,
    INHERITANCE,
    DEPENDENCIES,
    FOREIGN_KEYS,
    FUNCTIONS,
    OPERATORS,
    TYPES,
    CASTS,
    deep::CODE,
    deep::UNIQUES,
    deep::ROW_TYPES,
    deep::COMPOSITES,
    deep::CAST_TYPES,
    deep::CHECKS,
    deep::PARTITION_KEYS,
    deep::RULES,
];

const SERVER: &str = "\
SELECT pg_catalog.json_build_object(
  'version', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
  'database', pg_catalog.current_database(),
  'role', CURRENT_USER,
  'time_limits', (SELECT pg_catalog.json_object_agg(s.name, s.setting::pg_catalog.int8) FROM pg_catalog.pg_settings s
                  WHERE s.name OPERATOR(pg_catalog.=)
                    ANY ('{statement_timeout,lock_timeout,idle_in_transaction_session_timeout}'::pg_catalog.text[])),
  'search_path', pg_catalog.array_to_json(pg_catalog.current_schemas(false)))::pg_catalog.text";

const RELATIONS: &str = "\
SELECT pg_catalog.json_build_object(
  'oid', c.oid::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
  'temporary', c.relpersistence OPERATOR(pg_catalog.=) 't', 'partition', c.relispartition,
  'triggers', EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t
                      WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid AND NOT t.tgisinternal),
  'rules', EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w
                   WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid AND w.rulename OPERATOR(pg_catalog.<>) '_RETURN'))::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S}'::pg_catalog.\"char\"[])
  AND n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema,pg_toast}'::pg_catalog.name[])
  AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
ORDER BY c.oid LIMIT 20001";

// The base type of a domain is what the server reports to clients and what every operation on it falls back to.
const COLUMNS: &str = "\
WITH RECURSIVE base(oid, root, typmod, depth) AS (
  SELECT t.oid, t.typbasetype, t.typtypmod, 1 FROM pg_catalog.pg_type t WHERE t.typtype OPERATOR(pg_catalog.=) 'd'
  UNION ALL
  SELECT b.oid, t.typbasetype, t.typtypmod, b.depth OPERATOR(pg_catalog.+) 1
  FROM base b JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) b.root
  WHERE t.typtype OPERATOR(pg_catalog.=) 'd' AND b.depth OPERATOR(pg_catalog.<) 32)
SELECT pg_catalog.json_build_object(
  'relation', a.attrelid::pg_catalog.int8, 'attnum', a.attnum, 'name', a.attname, 'type_oid', a.atttypid::pg_catalog.int8,
  'type_sql', CASE WHEN n.nspname OPERATOR(pg_catalog.=) 'pg_catalog'
                     OR e.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
    THEN pg_catalog.format_type(t.oid, COALESCE(d.typmod, a.atttypmod))
    WHEN e.oid IS NOT NULL THEN pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.'
      OPERATOR(pg_catalog.||) pg_catalog.quote_ident(e.typname) OPERATOR(pg_catalog.||) '[]'
    ELSE pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(t.typname) END,
  'builtin', CASE WHEN n.nspname OPERATOR(pg_catalog.=) 'pg_catalog' THEN t.typname END,
  'not_null', a.attnotnull, 'generated', a.attgenerated OPERATOR(pg_catalog.<>) '',
  'computed_from', CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) '' THEN '[]'::pg_catalog.json ELSE (
    SELECT COALESCE(pg_catalog.json_agg(p.refobjsubid), '[]'::pg_catalog.json) FROM pg_catalog.pg_depend p
    WHERE p.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
      AND p.refobjid OPERATOR(pg_catalog.=) a.attrelid AND p.refobjsubid OPERATOR(pg_catalog.>) 0
      AND p.refobjsubid OPERATOR(pg_catalog.<>) a.attnum
      AND (p.classid OPERATOR(pg_catalog.=) p.refclassid AND p.objid OPERATOR(pg_catalog.=) a.attrelid
             AND p.objsubid OPERATOR(pg_catalog.=) a.attnum
           OR p.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid
             AND p.objid OPERATOR(pg_catalog.=) (SELECT f.oid FROM pg_catalog.pg_attrdef f
               WHERE f.adrelid OPERATOR(pg_catalog.=) a.attrelid AND f.adnum OPERATOR(pg_catalog.=) a.attnum))) END)::pg_catalog.text
FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
  JOIN pg_catalog.pg_namespace cn ON cn.oid OPERATOR(pg_catalog.=) c.relnamespace
  LEFT JOIN base d ON d.oid OPERATOR(pg_catalog.=) a.atttypid AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_type x WHERE x.oid OPERATOR(pg_catalog.=) d.root AND x.typtype OPERATOR(pg_catalog.=) 'd')
  JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) COALESCE(d.root, a.atttypid)
  JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
  LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) t.typelem AND e.typarray OPERATOR(pg_catalog.=) t.oid
WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S}'::pg_catalog.\"char\"[])
  AND cn.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema,pg_toast}'::pg_catalog.name[])
  AND NOT pg_catalog.pg_is_other_temp_schema(cn.oid)
ORDER BY a.attrelid, a.attnum LIMIT 500001";

const INHERITANCE: &str = "\
SELECT pg_catalog.json_build_object('child', i.inhrelid::pg_catalog.int8, 'parent', i.inhparent::pg_catalog.int8)::pg_catalog.text
FROM pg_catalog.pg_inherits i
ORDER BY i.inhrelid, i.inhseqno LIMIT 100001";

const DEPENDENCIES: &str = "\
SELECT DISTINCT pg_catalog.jsonb_build_object('relation', w.ev_class::pg_catalog.int8, 'on', d.refobjid::pg_catalog.int8)::pg_catalog.text
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite w ON w.oid OPERATOR(pg_catalog.=) d.objid
WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid
  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
  AND d.refobjid OPERATOR(pg_catalog.<>) w.ev_class LIMIT 200001";

// `confdelsetcols` is a column from PostgreSQL 15 on.
const FOREIGN_KEYS: &str = "\
SELECT pg_catalog.json_build_object('from', k.conrelid::pg_catalog.int8, 'to', k.confrelid::pg_catalog.int8,
  'columns', pg_catalog.to_json(k.conkey), 'targets', pg_catalog.to_json(k.confkey),
  'on_delete', k.confdeltype, 'on_update', k.confupdtype,
  'set_columns', pg_catalog.to_jsonb(k) OPERATOR(pg_catalog.->) 'confdelsetcols')::pg_catalog.text
FROM pg_catalog.pg_constraint k WHERE k.contype OPERATOR(pg_catalog.=) 'f' ORDER BY k.oid LIMIT 100001";

const FUNCTIONS: &str = "\
SELECT pg_catalog.json_build_object(
  'schema', n.nspname, 'name', p.proname,
  'arguments', (SELECT COALESCE(pg_catalog.json_agg(pg_catalog.format_type(a.t, NULL) ORDER BY a.i), '[]'::pg_catalog.json)
                FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a(t, i)),
  'defaults', p.pronargdefaults, 'variadic', p.provariadic OPERATOR(pg_catalog.<>) 0::pg_catalog.oid,
  'kind', p.prokind, 'volatility', p.provolatile, 'security_definer', p.prosecdef, 'returns_set', p.proretset,
  'compiled', l.lanname OPERATOR(pg_catalog.=) ANY ('{internal,c}'::pg_catalog.name[]),
  'extension', (SELECT x.extname FROM pg_catalog.pg_depend d
                  JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) d.refobjid
                WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
                  AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
                  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                LIMIT 1))::pg_catalog.text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
WHERE n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema,pg_toast}'::pg_catalog.name[])
ORDER BY p.oid LIMIT 50001";

const OPERATORS: &str = "\
SELECT pg_catalog.json_build_object('schema', n.nspname, 'name', o.oprname,
  'extension', (SELECT x.extname FROM pg_catalog.pg_depend d
                  JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) d.refobjid
                WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid
                  AND d.objid OPERATOR(pg_catalog.=) o.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
                  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                LIMIT 1))::pg_catalog.text
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
WHERE n.nspname OPERATOR(pg_catalog.<>) 'pg_catalog' ORDER BY o.oid LIMIT 20001";

const TYPES: &str = "\
SELECT pg_catalog.json_build_object('schema', n.nspname, 'name', t.typname, 'kind', t.typtype,
  'rows', EXISTS (
    WITH RECURSIVE base(oid) AS (
      SELECT t.typbasetype UNION
      SELECT b.typbasetype FROM base JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) base.oid)
    SELECT 1 FROM base JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) base.oid
    WHERE b.typtype OPERATOR(pg_catalog.=) 'c'),
  'extension', (SELECT x.extname FROM pg_catalog.pg_depend d
                  JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) d.refobjid
                WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid
                  AND d.objid OPERATOR(pg_catalog.=) t.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
                  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                LIMIT 1))::pg_catalog.text
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
  LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.typrelid
WHERE n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema,pg_toast}'::pg_catalog.name[])
  AND (c.oid IS NULL OR c.relkind OPERATOR(pg_catalog.=) 'c')
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type e WHERE e.oid OPERATOR(pg_catalog.=) t.typelem
                  AND e.typarray OPERATOR(pg_catalog.=) t.oid)
ORDER BY t.oid LIMIT 20001";

const CASTS: &str = "\
SELECT pg_catalog.json_build_object('source', k.castsource::pg_catalog.int8, 'target', k.casttarget::pg_catalog.int8)::pg_catalog.text
FROM pg_catalog.pg_cast k
  JOIN pg_catalog.pg_type s ON s.oid OPERATOR(pg_catalog.=) k.castsource
  JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) k.casttarget
  JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) k.castfunc
WHERE s.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
  AND t.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
  AND p.pronamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid LIMIT 1001";
