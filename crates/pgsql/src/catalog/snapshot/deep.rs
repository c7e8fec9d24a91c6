//! The texts about what a relation runs, compares and holds beside its plain columns.
//!
//! Objects from 16384 on are those that were made after `initdb`, whatever their schema.

/// The types of columns and, at any depth, the types that their values are made of: elements, base types, bounds of
/// ranges, attributes.
macro_rules! parts {
    () => {
        "\
WITH RECURSIVE part(oid, inner_type) AS (
  SELECT t.oid, t.oid FROM pg_catalog.pg_type t
  WHERE t.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
    AND EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a
                WHERE a.atttypid OPERATOR(pg_catalog.=) t.oid AND a.attnum OPERATOR(pg_catalog.>) 0)
  UNION
  SELECT p.oid, x.t FROM part p JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) p.inner_type
    CROSS JOIN LATERAL (
      SELECT t.typelem UNION ALL SELECT t.typbasetype
      UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r
        WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid OR r.rngmultitypid OPERATOR(pg_catalog.=) t.oid
      UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
        WHERE t.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND a.attrelid OPERATOR(pg_catalog.=) t.typrelid
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped) AS x(t)
  WHERE x.t OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)
"
    };
}

/// Relations that run functions, operators or operator classes of users when they are read or changed, and those with
/// policies, whose conditions may read anything. A domain counts for the relations that have it in a column.
pub(super) const CODE: &str = concat!(
    parts!(),
    "\
, owned(class, id, relation, runs) AS MATERIALIZED (
  SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid, w.oid, w.ev_class, 'Rule' FROM pg_catalog.pg_rewrite w
  UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, k.oid, k.conrelid, 'Write'
    FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
  UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, k.oid, a.attrelid, 'Write'
    FROM pg_catalog.pg_constraint k JOIN part p ON p.inner_type OPERATOR(pg_catalog.=) k.contypid
      JOIN pg_catalog.pg_attribute a ON a.atttypid OPERATOR(pg_catalog.=) p.oid
    WHERE k.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
  UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, p.inner_type, a.attrelid,
      CASE WHEN y.typtype OPERATOR(pg_catalog.=) 'd' THEN 'Default' END
    FROM part p JOIN pg_catalog.pg_attribute a ON a.atttypid OPERATOR(pg_catalog.=) p.oid
      JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) p.inner_type
  UNION ALL SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid, f.oid, f.adrelid,
      CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) '' THEN 'Default' ELSE 'Write' END
    FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_attribute a
      ON a.attrelid OPERATOR(pg_catalog.=) f.adrelid AND a.attnum OPERATOR(pg_catalog.=) f.adnum
  UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, f.adrelid, f.adrelid, 'Write'
    FROM pg_catalog.pg_attrdef f
  UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, i.indexrelid, i.indrelid, 'Write'
    FROM pg_catalog.pg_index i
  UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.oid, 'Write'
    FROM pg_catalog.pg_class c WHERE c.relkind OPERATOR(pg_catalog.=) 'p'
  UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::pg_catalog.oid, s.oid, s.stxrelid, NULL
    FROM pg_catalog.pg_statistic_ext s)
SELECT DISTINCT pg_catalog.jsonb_build_object('relation', o.relation::pg_catalog.int8, 'runs', o.runs,
  'extension', (SELECT x.extname FROM pg_catalog.pg_depend e
                  JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) e.refobjid
                WHERE e.classid OPERATOR(pg_catalog.=) d.refclassid AND e.objid OPERATOR(pg_catalog.=) d.refobjid
                  AND e.deptype OPERATOR(pg_catalog.=) 'e'
                  AND e.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                LIMIT 1))::pg_catalog.text
FROM owned o JOIN pg_catalog.pg_depend d
  ON d.classid OPERATOR(pg_catalog.=) o.class AND d.objid OPERATOR(pg_catalog.=) o.id
WHERE d.refobjid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
  AND d.refclassid OPERATOR(pg_catalog.=) ANY (ARRAY[
    'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid,
    'pg_catalog.pg_opclass'::pg_catalog.regclass::pg_catalog.oid])
UNION
SELECT pg_catalog.jsonb_build_object('relation', p.polrelid::pg_catalog.int8, 'runs', NULL, 'extension', NULL)::pg_catalog.text
FROM pg_catalog.pg_policy p LIMIT 200001"
);

/// What views and rules use of the server's own, which `pg_depend` does not tell of, and the types of users in them: the
/// expressions themselves tell.
pub(super) const RULES: &str = "\
SELECT pg_catalog.jsonb_build_object('relation', w.ev_class::pg_catalog.int8,
  'catalogs', (SELECT COALESCE(pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(n.nspname, c.relname)), '[]'::pg_catalog.jsonb)
    FROM pg_catalog.regexp_matches(w.ev_action::pg_catalog.text, ':relid ([0-9]+) ', 'g') AS m(found)
      JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) m.found[1]::pg_catalog.oid
      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid),
  'functions', (SELECT COALESCE(pg_catalog.jsonb_agg(DISTINCT p.proname), '[]'::pg_catalog.jsonb)
    FROM pg_catalog.regexp_matches(w.ev_action::pg_catalog.text, ':(?:funcid|aggfnoid|winfnoid) ([0-9]+) ', 'g') AS m(found)
      JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) m.found[1]::pg_catalog.oid
    WHERE p.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid),
  'types', (SELECT COALESCE(pg_catalog.jsonb_agg(DISTINCT m.found[1]::pg_catalog.int8), '[]'::pg_catalog.jsonb)
    FROM pg_catalog.regexp_matches(w.ev_action::pg_catalog.text, 'type ([0-9]{5,}) ', 'g') AS m(found)))::pg_catalog.text
FROM pg_catalog.pg_rewrite w WHERE w.ev_class OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
ORDER BY w.oid LIMIT 40001";

/// Which columns the server uses together when a row is written: in a check, a generated column, an index with expressions,
/// a partition key, a policy. Only a policy may look at other rows and relations; of those it is in `pg_depend` which
/// columns they are. Otherwise the expressions themselves tell: there a plain key of an index is none of its expressions'.
pub(super) const CHECKS: &str = "\
WITH checked(relation, plain, body) AS (
  SELECT k.conrelid, '{}'::pg_catalog.int2[], k.conbin::pg_catalog.text FROM pg_catalog.pg_constraint k
    WHERE k.contype OPERATOR(pg_catalog.=) 'c'
  UNION ALL SELECT f.adrelid, '{}', f.adbin::pg_catalog.text
    FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_attribute a
      ON a.attrelid OPERATOR(pg_catalog.=) f.adrelid AND a.attnum OPERATOR(pg_catalog.=) f.adnum
    WHERE a.attgenerated OPERATOR(pg_catalog.<>) ''
  UNION ALL SELECT i.indrelid, '{}', pg_catalog.concat(i.indexprs::pg_catalog.text, i.indpred::pg_catalog.text)
    FROM pg_catalog.pg_index i WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
  UNION ALL SELECT p.partrelid, p.partattrs::pg_catalog.int2[], p.partexprs::pg_catalog.text
    FROM pg_catalog.pg_partitioned_table p),
used(relation, columns) AS MATERIALIZED (
  SELECT c.relation, ARRAY(
    SELECT m.found[1]::pg_catalog.int2 FROM pg_catalog.regexp_matches(c.body, ':varattno ([0-9]+) ', 'g') AS m(found)
    UNION SELECT n.plain FROM pg_catalog.unnest(c.plain) AS n(plain) WHERE n.plain OPERATOR(pg_catalog.>) 0
    ORDER BY 1) FROM checked c WHERE c.relation OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid),
policies(id, relation, body) AS (
  SELECT p.oid, p.polrelid, pg_catalog.concat(p.polqual::pg_catalog.text, p.polwithcheck::pg_catalog.text)
  FROM pg_catalog.pg_policy p)
SELECT pg_catalog.jsonb_build_object('relation', u.relation::pg_catalog.int8,
  'columns', CASE WHEN 0 OPERATOR(pg_catalog.=) ANY (u.columns) THEN NULL ELSE pg_catalog.to_jsonb(u.columns) END,
  'reads', '[]'::pg_catalog.jsonb, 'rows', false, 'calls', '[]'::pg_catalog.jsonb)::pg_catalog.text
FROM used u WHERE pg_catalog.cardinality(u.columns) OPERATOR(pg_catalog.>) 0
UNION
SELECT pg_catalog.jsonb_build_object('relation', p.relation::pg_catalog.int8,
  'columns', CASE WHEN pg_catalog.strpos(p.body, ':varattno 0 ') OPERATOR(pg_catalog.>) 0 THEN NULL ELSE (
    SELECT COALESCE(pg_catalog.jsonb_agg(DISTINCT d.refobjsubid), '[]'::pg_catalog.jsonb) FROM pg_catalog.pg_depend d
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass::pg_catalog.oid
      AND d.objid OPERATOR(pg_catalog.=) p.id
      AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
      AND d.refobjid OPERATOR(pg_catalog.=) p.relation AND d.refobjsubid OPERATOR(pg_catalog.>) 0) END,
  'reads', (
    SELECT COALESCE(pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(d.refobjid::pg_catalog.int8, d.refobjsubid)),
                    '[]'::pg_catalog.jsonb) FROM pg_catalog.pg_depend d
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass::pg_catalog.oid
      AND d.objid OPERATOR(pg_catalog.=) p.id
      AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
      AND d.refobjid OPERATOR(pg_catalog.<>) p.relation),
  'rows', pg_catalog.strpos(p.body, '{SUBLINK ') OPERATOR(pg_catalog.>) 0,
  'calls', (
    SELECT COALESCE(pg_catalog.jsonb_agg(DISTINCT (
      SELECT x.extname FROM pg_catalog.pg_depend e
        JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) e.refobjid
      WHERE e.classid OPERATOR(pg_catalog.=) d.refclassid AND e.objid OPERATOR(pg_catalog.=) d.refobjid
        AND e.deptype OPERATOR(pg_catalog.=) 'e'
        AND e.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
      LIMIT 1)), '[]'::pg_catalog.jsonb) FROM pg_catalog.pg_depend d
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass::pg_catalog.oid
      AND d.objid OPERATOR(pg_catalog.=) p.id AND d.refobjid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
      AND d.refclassid OPERATOR(pg_catalog.=) ANY (ARRAY[
        'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid,
        'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid])))::pg_catalog.text
FROM policies p LIMIT 200001";

/// The columns of each partition key, those of its expressions included; null is all of them.
pub(super) const PARTITION_KEYS: &str = "\
WITH keys(relation, columns) AS MATERIALIZED (
  SELECT p.partrelid, ARRAY(
    SELECT m.found[1]::pg_catalog.int2
      FROM pg_catalog.regexp_matches(p.partexprs::pg_catalog.text, ':varattno ([0-9]+) ', 'g') AS m(found)
    UNION SELECT n.plain FROM pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) AS n(plain)
      WHERE n.plain OPERATOR(pg_catalog.>) 0 ORDER BY 1)
  FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)
SELECT pg_catalog.json_build_object('relation', k.relation::pg_catalog.int8,
  'columns', CASE WHEN 0 OPERATOR(pg_catalog.=) ANY (k.columns) THEN NULL ELSE pg_catalog.to_json(k.columns) END)::pg_catalog.text
FROM keys k ORDER BY k.relation LIMIT 20001";

/// The columns of each unique index and exclusion constraint. Expressions and predicates are in `pg_depend`; a reference
/// to the whole row is not told apart there from the one that every expression index has.
pub(super) const UNIQUES: &str = "\
SELECT pg_catalog.json_build_object('relation', i.indrelid::pg_catalog.int8,
  'columns', CASE WHEN pg_catalog.strpos(i.indexprs::pg_catalog.text, ':varattno 0 ') OPERATOR(pg_catalog.>) 0
                    OR pg_catalog.strpos(i.indpred::pg_catalog.text, ':varattno 0 ') OPERATOR(pg_catalog.>) 0 THEN NULL
    ELSE (SELECT pg_catalog.json_agg(DISTINCT a.attnum) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.>) 0
            AND (a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[])
                 OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
                   WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
                     AND d.objid OPERATOR(pg_catalog.=) i.indexrelid AND d.refclassid OPERATOR(pg_catalog.=) d.classid
                     AND d.refobjid OPERATOR(pg_catalog.=) i.indrelid
                     AND d.refobjsubid OPERATOR(pg_catalog.=) a.attnum))) END)::pg_catalog.text
FROM pg_catalog.pg_index i
WHERE (i.indisunique OR i.indisexclusion) AND i.indrelid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
ORDER BY i.indexrelid LIMIT 200001";

/// Which rows a value of a column's type can hold.
pub(super) const ROW_TYPES: &str = concat!(
    parts!(),
    "\
SELECT DISTINCT pg_catalog.jsonb_build_object('type', p.oid::pg_catalog.int8, 'relation', t.typrelid::pg_catalog.int8)::pg_catalog.text
FROM part p JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) p.inner_type
WHERE t.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid LIMIT 500001"
);

pub(super) const COMPOSITES: &str = "\
SELECT pg_catalog.json_build_object('oid', c.oid::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname,
  'columns', (SELECT COALESCE(pg_catalog.json_agg(a.attname ORDER BY a.attnum), '[]'::pg_catalog.json)
              FROM pg_catalog.pg_attribute a
              WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0
                AND NOT a.attisdropped))::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) 'c' AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
ORDER BY c.oid LIMIT 20001";

/// Types with a cast that runs a function of a user, and the types of columns that are made of them.
pub(super) const CAST_TYPES: &str = concat!(
    parts!(),
    "\
, cast_type(oid, function) AS (
  SELECT x.oid, k.castfunc FROM pg_catalog.pg_cast k CROSS JOIN LATERAL (VALUES (k.castsource), (k.casttarget)) AS x(oid)
  WHERE x.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid
    AND k.castfunc OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid),
holder(oid, function) AS (
  SELECT c.oid, c.function FROM cast_type c
  UNION SELECT p.oid, c.function FROM cast_type c JOIN part p ON p.inner_type OPERATOR(pg_catalog.=) c.oid)
SELECT DISTINCT pg_catalog.jsonb_build_object('oid', t.oid::pg_catalog.int8, 'schema', n.nspname, 'name', t.typname,
  'extension', (SELECT x.extname FROM pg_catalog.pg_depend e
                  JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) e.refobjid
                WHERE e.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
                  AND e.objid OPERATOR(pg_catalog.=) c.function AND e.deptype OPERATOR(pg_catalog.=) 'e'
                  AND e.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
                LIMIT 1))::pg_catalog.text
FROM holder c
  JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) c.oid
  JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace LIMIT 20001"
);
