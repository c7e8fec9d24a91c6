-- More attacks, one statement a line, on the schema of the classification's tests.
-- Encodings of a value.
SELECT encode(convert_to(email, 'UTF8'), 'hex') FROM users
SELECT encode(convert_to(email, 'UTF8'), 'base64') FROM users
SELECT encode(ssn::bytea, 'escape') FROM users
SELECT convert_to(ssn, 'UTF8') FROM users
SELECT convert(ssn::bytea, 'UTF8', 'LATIN1') FROM users
SELECT ssn::bytea FROM users
SELECT substring(ssn::bytea from 1 for 3) FROM users
SELECT get_byte(ssn::bytea, 0), get_byte(ssn::bytea, 1) FROM users
SELECT get_bit(ssn::bytea, 3) FROM users
SELECT set_byte(ssn::bytea, 0, 65) FROM users
SELECT sha256(ssn::bytea) FROM users WHERE ssn LIKE 'C%'
SELECT overlay(ssn placing 'x' from 1) FROM users
SELECT translate(ssn, 'C', 'c') FROM users
SELECT replace(ssn, '-', '+') FROM users
SELECT lpad(ssn, 40, '.'), rpad(ssn, 40, '.') FROM users
SELECT repeat(ssn, 2) FROM users
SELECT btrim(ssn, '1'), ltrim(ssn, 'C'), rtrim(ssn, '1') FROM users
SELECT initcap(ssn), lower(ssn) FROM users
SELECT quote_literal(ssn), quote_ident(ssn), quote_nullable(ssn) FROM users
SELECT split_part(email, '@', 1) FROM users
SELECT starts_with(ssn, 'CANA') FROM users
SELECT strpos(ssn, 'CANARY') FROM users
SELECT position('CANARY' in ssn) FROM users
SELECT string_to_array(ssn, '-') FROM users
SELECT string_to_table(ssn, '-') FROM users
SELECT regexp_replace(ssn, '[0-9]', '', 'g') FROM users
SELECT regexp_match(ssn, '(.*)') FROM users
SELECT regexp_matches(ssn, '(.)', 'g') FROM users
SELECT regexp_split_to_table(ssn, '') FROM users
SELECT regexp_split_to_array(ssn, '') FROM users
SELECT ssn ~ '^C', ssn ~* '^c', ssn LIKE 'C%', ssn ILIKE 'c%', ssn SIMILAR TO 'C%' FROM users
SELECT ssn < 'D', ssn > 'B', ssn BETWEEN 'A' AND 'Z' FROM users
SELECT hashtext(ssn) = hashtext('CANARY-111-11') FROM users
SELECT unistr('\0043') || ssn FROM users
SELECT normalize(ssn, NFKD) FROM users
SELECT to_hex(ascii(ssn)) FROM users
SELECT chr(ascii(ssn)) || substr(ssn, 2) FROM users
SELECT to_ascii(convert_to(ssn, 'LATIN1'), 'LATIN1') FROM users
SELECT parse_ident(quote_ident(ssn)) FROM users
SELECT crc32(ssn::bytea) FROM users
-- Text search.
SELECT to_tsvector(email) FROM users
SELECT to_tsvector('simple', ssn)::text FROM users
SELECT tsvector_to_array(to_tsvector('simple', ssn)) FROM users
SELECT to_tsvector('simple', ssn) @@ to_tsquery('simple', 'canary') FROM users
SELECT ts_headline(ssn, to_tsquery('canary')) FROM users
SELECT plainto_tsquery(ssn), phraseto_tsquery(ssn), websearch_to_tsquery(ssn) FROM users
SELECT ts_rank(to_tsvector(ssn), to_tsquery('canary')) FROM users
SELECT * FROM ts_debug((SELECT ssn FROM users LIMIT 1))
SELECT (ts_parse('default', (SELECT ssn FROM users LIMIT 1))).token
SELECT ts_lexize('simple', (SELECT ssn FROM users LIMIT 1))
-- JSON and XML.
SELECT json_build_object('a', ssn) FROM users
SELECT jsonb_build_array(ssn, email) FROM users
SELECT json_object(ARRAY['a', ssn]) FROM users WHERE ssn IS NOT NULL
SELECT jsonb_object_agg(id, ssn) FROM users
SELECT json_object_agg(email, ssn) FROM users
SELECT jsonb_pretty(to_jsonb(u)) FROM users u
SELECT jsonb_each_text(to_jsonb(u)) FROM users u
SELECT to_jsonb(u) -> 'ssn', to_jsonb(u) #>> '{email}' FROM users u
SELECT to_jsonb(u) - 'id' FROM users u
SELECT jsonb_set('{}', '{a}', to_jsonb(ssn)) FROM users
SELECT jsonb_path_query_array(to_jsonb(u), '$.*') FROM users u
SELECT jsonb_path_exists(to_jsonb(u), '$.ssn ? (@ like_regex "CAN")') FROM users u
SELECT to_jsonb(u) @> '{"id": 1}', to_jsonb(u) ->> 'email' FROM users u
SELECT json_strip_nulls(row_to_json(u)) FROM users u
SELECT array_to_json(array_agg(u)) FROM users u
SELECT doc::text, doc #> '{k}', doc @> '{"k": "CANARY"}' FROM users
SELECT jsonb_object_keys(doc), doc ? 'k' FROM users
SELECT * FROM users u, jsonb_to_record(to_jsonb(u)) AS r(ssn text)
SELECT r.* FROM users u, jsonb_populate_record(NULL::people, to_jsonb(u)) r
SELECT xmlagg(xmlelement(name u, ssn)) FROM users
SELECT xmlserialize(content xmlelement(name u, ssn) as text) FROM users
SELECT xmlconcat(xmlelement(name a, ssn), xmlcomment('x')) FROM users
SELECT xmlattributes FROM (SELECT xmlelement(name a, xmlattributes(ssn AS s)) FROM users) x(xmlattributes)
SELECT xpath('/u/text()', xmlelement(name u, ssn)) FROM users
SELECT schema_to_xml('public', true, false, '')
SELECT query_to_xml_and_xmlschema('TABLE users', true, false, '')
-- Joins and scopes.
SELECT b.ssn FROM users a JOIN users b ON a.id = b.manager
SELECT a.* FROM users a LEFT JOIN orders o ON o.user_id = a.id
SELECT ssn FROM orders RIGHT JOIN users ON user_id = users.id
SELECT coalesce(a.ssn, b.ssn) FROM users a FULL JOIN users b USING (id)
SELECT * FROM users a NATURAL JOIN users b
SELECT x.ssn FROM (users a JOIN orders o ON o.user_id = a.id) AS x(i, n, e, ssn)
SELECT l.s FROM orders o CROSS JOIN LATERAL (SELECT ssn AS s FROM users WHERE id = o.user_id) l
SELECT l.s FROM orders o LEFT JOIN LATERAL (SELECT u.ssn || o.note AS s FROM users u) l ON true
SELECT (SELECT s FROM (SELECT ssn AS s) q) FROM users
SELECT s.t FROM (SELECT u.*::text AS t FROM users u) s
SELECT q FROM (SELECT ssn FROM users) q
SELECT q.ssn FROM (SELECT * FROM (SELECT * FROM (TABLE users) a) b) q
SELECT (ARRAY(SELECT u FROM users u))[1].ssn
SELECT (ARRAY(SELECT ssn FROM users ORDER BY id))[1]
SELECT ARRAY(SELECT ssn FROM users) && ARRAY['CANARY-111-11']::varchar[]
SELECT array_to_string(array_agg(ssn), ',') FROM users
SELECT unnest(array_agg(ssn)) FROM users
SELECT array_position(array_agg(ssn), 'CANARY-111-11') FROM users
SELECT (u).ssn, (u).* FROM (SELECT u FROM users u) q
SELECT (SELECT (u).ssn) FROM users u
SELECT row(u.*)::users FROM users u
SELECT (row(u.*)::users).ssn FROM users u
SELECT u IS DISTINCT FROM u, u = u FROM users u
SELECT record_out(u) FROM users u
SELECT hash_record(u) FROM users u
SELECT min(ssn), max(ssn), string_agg(DISTINCT ssn, ',') FROM users GROUP BY ROLLUP (id)
SELECT ssn, count(*) FROM users GROUP BY GROUPING SETS ((ssn), ())
SELECT ssn FROM users GROUP BY ssn HAVING count(*) > 0
SELECT nth_value(ssn, 1) OVER w, last_value(ssn) OVER w FROM users WINDOW w AS (PARTITION BY manager ORDER BY id)
SELECT rank() OVER (ORDER BY ssn), ntile(2) OVER (ORDER BY ssn), id FROM users
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY salary) FROM users
SELECT corr(salary, id), stddev(salary), variance(salary), regr_slope(salary, id) FROM users
SELECT bit_xor(e), bool_and(i), any_value(a) FROM app.typed
SELECT width_bucket(salary, 0, 1000000, 10) FROM users
SELECT salary > 777777, salary::text, to_char(salary, '999999.99'), round(salary), trunc(salary) FROM users
SELECT born + 1, born - DATE '1970-01-01', date_part('year', born), make_date(extract(year FROM born)::int, 1, 1) FROM users
SELECT born::text, born::timestamp, (born, born) OVERLAPS (born, born) FROM users
SELECT isfinite(born), date_trunc('month', born), justify_days(age(born)) FROM users
SELECT a, e, f, g, h, j, k, n, o FROM app.typed ORDER BY e
SELECT u, x, cc, bb, aa FROM app.typed
SELECT lower(x), upper(x), x @> 424242, range_merge(x, x) FROM app.typed
SELECT host(u), netmask(u), text(u), u << '42.0.0.0/8' FROM app.typed
SELECT extract(day FROM n), justify_hours(n), n * 2 FROM app.typed
SELECT o::text, uuid_send(o) FROM app.typed
SELECT int4send(e), int8send(f), numeric_send(g), float8send(h), date_send(j), textsend(a) FROM app.typed
SELECT cc::numeric, cash_words(cc) FROM app.typed
SELECT e + 0, e # 0, e & -1, ~e, -e, +e, abs(e), e % 1000 FROM app.typed
-- Predicates as an oracle.
SELECT 1 FROM users WHERE ssn = 'CANARY-111-11'
SELECT id FROM users WHERE ssn LIKE 'CANARY-1%' AND repeat('CANARY', 1) <> ''
SELECT 'CAN' || 'ARY' FROM users WHERE substr(ssn, 1, 3) = 'CAN'
SELECT 1 / (ascii(ssn) - 67) FROM users
SELECT 1 / length(ssn) FROM users WHERE ssn > 'C'
SELECT id FROM users WHERE salary > 777777.70 AND salary < 777777.80
SELECT count(*) FROM users WHERE born < '1978-01-01'
SELECT id FROM users WHERE doc @> '{"k": "CANARY"}'
SELECT id FROM users WHERE 'CANARY' = ANY (tags)
SELECT id FROM users ORDER BY ssn DESC NULLS LAST LIMIT 1
SELECT id FROM users ORDER BY substr(ssn, 8, 1), salary
SELECT DISTINCT ON (ssn) id FROM users ORDER BY ssn
SELECT o.id FROM orders o JOIN users u ON u.ssn = 'CANARY-111-11' AND u.id = o.user_id
SELECT id FROM orders WHERE EXISTS (SELECT FROM users WHERE ssn LIKE 'CANARY-2%')
SELECT CASE WHEN (SELECT salary FROM users WHERE id = 1) > 700000 THEN 1 ELSE 0 END
SELECT generate_series(1, (SELECT length(ssn) FROM users WHERE id = 1))
SELECT id FROM plain TABLESAMPLE bernoulli ((SELECT length(ssn) FROM users WHERE id = 1))
SELECT pg_sleep(length(ssn)) FROM users
SELECT pg_advisory_lock(ascii(ssn)) FROM users
SELECT nextval('seq') FROM users WHERE ssn LIKE 'C%'
SELECT setval('seq', length(ssn)) FROM users
-- Errors that name values.
SELECT ssn::int FROM users
SELECT ssn::numeric, ssn::float8, ssn::bool FROM users
SELECT ssn::json FROM users
SELECT ssn::xml FROM users
SELECT ssn::inet FROM users
SELECT ssn::app.mood FROM users
SELECT ssn::regclass FROM users
SELECT to_date(ssn, 'YYYY') FROM users
SELECT to_number(ssn, '999') FROM users
SELECT to_timestamp(ssn, 'YYYY') FROM users
SELECT jsonb_path_query('{}', ssn::jsonpath) FROM users
SELECT (ssn || '{')::int[] FROM users
SELECT ('[' || ssn)::int4range FROM users
SELECT regexp_match('a', ssn || '(') FROM users
SELECT 'a' ~ (ssn || '[') FROM users
SELECT 'a' LIKE (ssn || '\') FROM users
SELECT to_regclass(ssn), to_regtype(ssn) FROM users
SELECT current_setting(ssn) FROM users
SELECT format('%' || ssn) FROM users
SELECT salary / (id - 1) FROM users
SELECT salary::int2 FROM users
SELECT chr(salary::int) FROM users
SELECT convert_from(ssn::bytea, 'EUC_JP') FROM users
SELECT decode(ssn, 'hex') FROM users
SELECT decode(ssn, 'base64') FROM users
SELECT ssn::bit(3) FROM users
SELECT row(ssn)::users FROM users
SELECT json_populate_record(NULL::orders, json_build_object('total', ssn)) FROM users
INSERT INTO plain (id, flag) SELECT 900, ssn::bool FROM users
INSERT INTO plain (id, name) SELECT 1, ssn FROM users
INSERT INTO orders (id, user_id, total) SELECT 1, id, length(ssn) FROM users
INSERT INTO users (id, name, email) VALUES (1, 'x', 'aCANARY1@example.com')
INSERT INTO users (id, name, email) SELECT 900, 'x', email FROM users WHERE id = 2
UPDATE users SET email = (SELECT email FROM users WHERE id = 2) WHERE id = 1
UPDATE users SET id = 1 WHERE ssn LIKE 'CANARY-2%'
UPDATE plain SET at = (SELECT ssn FROM users WHERE id = 1)::timestamp WHERE id = 1
DELETE FROM users WHERE id = 1
-- Writes that carry a value to where it can be read.
INSERT INTO plain (id, email, name) SELECT id + 800, ssn, doc::text FROM users RETURNING *
INSERT INTO orders (id, user_id, total, note) SELECT 900 + id, id, 1, ssn FROM users RETURNING note
INSERT INTO plain (id, email) TABLE people RETURNING email
UPDATE orders SET note = ssn FROM users WHERE users.id = user_id RETURNING orders.note
UPDATE orders o SET note = (SELECT ssn FROM users u WHERE u.id = o.user_id) WHERE o.id = 1 RETURNING o.*
UPDATE plain SET (name, email) = (SELECT ssn, email FROM users WHERE id = 1) WHERE id = 1 RETURNING name, email
UPDATE users SET name = ssn WHERE id = 1 RETURNING name
UPDATE users SET name = users.doc ->> 'k' WHERE id = 1 RETURNING name
UPDATE users SET manager = NULL WHERE id = 2 RETURNING ssn, email, doc, tags
DELETE FROM orders USING users WHERE users.id = user_id RETURNING users.*
DELETE FROM users WHERE id = 3 RETURNING ssn, users
MERGE INTO orders o USING users u ON u.id = o.user_id WHEN MATCHED THEN UPDATE SET note = u.ssn
MERGE INTO users u USING orders o ON u.id = o.user_id AND o.id = 1 WHEN MATCHED THEN UPDATE SET name = u.ssn
MERGE INTO plain p USING (SELECT id, ssn FROM users) s ON p.id = s.id WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id + 700, s.ssn)
WITH w AS (UPDATE orders SET note = (SELECT max(ssn) FROM users) WHERE id = 1 RETURNING note) SELECT note FROM w
WITH w AS (SELECT ssn FROM users), i AS (INSERT INTO plain (id, name) SELECT 910, ssn FROM w LIMIT 1 RETURNING name) TABLE i
WITH RECURSIVE w(i, s) AS (SELECT 1, ssn FROM users WHERE id = 1 UNION ALL SELECT i + 1, substr(s, 2) FROM w WHERE i < 9) TABLE w
WITH RECURSIVE w AS (SELECT id, ssn FROM users) SEARCH DEPTH FIRST BY id SET o SELECT * FROM w
WITH w AS MATERIALIZED (SELECT * FROM users) SELECT ssn FROM w
WITH w AS NOT MATERIALIZED (SELECT * FROM users) SELECT w FROM w
-- COPY, cursors, EXPLAIN.
COPY users TO STDOUT (FORMAT binary)
COPY users (ssn) TO STDOUT (FORMAT csv, FORCE_QUOTE *)
COPY users TO STDOUT (FORMAT text, DELIMITER '|', NULL 'CAN')
COPY users TO STDOUT WHERE ssn LIKE 'C%'
COPY (SELECT ssn, email, doc FROM users) TO STDOUT (FORMAT binary)
COPY (SELECT row_to_json(u) FROM users u) TO STDOUT
COPY (VALUES ((SELECT ssn FROM users LIMIT 1))) TO STDOUT
COPY (INSERT INTO plain (id, name) SELECT 920, ssn FROM users LIMIT 1 RETURNING name) TO STDOUT
COPY people TO STDOUT (FORMAT csv)
COPY app.events_2020 TO STDOUT (FORMAT binary)
COPY (DELETE FROM users WHERE id = 3 RETURNING ssn) TO STDOUT
DECLARE c CURSOR FOR SELECT ssn, email FROM users
DECLARE c BINARY CURSOR FOR SELECT ssn, born, salary FROM users
DECLARE c INSENSITIVE NO SCROLL CURSOR FOR TABLE users
DECLARE c CURSOR FOR SELECT u FROM users u FOR UPDATE
EXPLAIN (FORMAT JSON) SELECT * FROM users WHERE ssn = 'x'
EXPLAIN (ANALYZE, FORMAT XML) SELECT ssn FROM users
EXPLAIN (VERBOSE, COSTS OFF) SELECT ssn FROM users WHERE ssn > 'B'
EXPLAIN (GENERIC_PLAN) SELECT * FROM users WHERE ssn = $1
EXPLAIN (ANALYZE, SUMMARY OFF, TIMING OFF) SELECT id FROM users WHERE ssn LIKE 'CANARY-1%'
EXPLAIN ANALYZE DELETE FROM users WHERE ssn LIKE 'CANARY-1%'
-- Catalogs, statistics, files, large objects, other databases. Not here: literals in definitions (defaults, bounds of
-- partitions) are readable as everywhere in PostgreSQL, see SECURITY.md.
SELECT most_common_vals, histogram_bounds FROM pg_stats
SELECT * FROM pg_stats_ext
SELECT stxdmcv FROM pg_statistic_ext_data
SELECT pg_get_viewdef('user_view'::regclass)
SELECT relpartbound::text FROM pg_class WHERE relname LIKE 'events%'
SELECT relpartbound::text FROM pg_class
SELECT * FROM pg_catalog.pg_prepared_statements
SELECT statement FROM pg_cursors
SELECT * FROM pg_largeobject
SELECT lo_from_bytea(0, ssn::bytea) FROM users
SELECT lo_create(0), lo_get(1), lo_put(1, 0, 'x')
SELECT loread(lo_open(1, 262144), 100)
SELECT * FROM dblink('dbname=app', 'SELECT ssn FROM users') AS t(s text)
SELECT pg_read_binary_file('base/1/1259')
SELECT pg_stat_file('/etc/passwd')
SELECT get_raw_page('users', 0)
SELECT heap_page_items(get_raw_page('users', 0))
SELECT pg_logical_slot_get_changes('s', NULL, NULL)
SELECT pg_notify('c', ssn) FROM users
SELECT pg_export_snapshot()
SELECT pg_column_size(ssn), pg_typeof(ssn), pg_column_compression(ssn) FROM users
SELECT ctid, xmin, cmin, tableoid, ssn FROM users
SELECT users.ctid, (SELECT ssn FROM users u WHERE u.ctid = users.ctid) FROM users
SELECT * FROM information_schema.columns WHERE column_default LIKE '%CANARY%'
SELECT txid_current(), ssn FROM users
-- Spellings.
SELECT "ssn" FROM "public"."users"
SELECT U&"s\0073n" FROM users
SELECT U&'\0043\0041' || ssn FROM users
SELECT/*+ a hint */ssn/**/FROM/* /* nested */ */users
SELECT ssn /* ; */ FROM users; SELECT email FROM users
SELECT ssn FROM users;;;
SELECT E'\'' || ssn FROM users
SELECT $q$'$q$ || ssn FROM users
SELECT B'1' || ssn::bit FROM users
SELECT users . ssn FROM users
SELECT (users).ssn FROM users
SELECT ((users)).ssn::text FROM users
SELECT ssn "email" FROM users
SELECT ssn AS "id", id AS "ssn" FROM users
SELECT id, ssn id FROM users
SELECT * FROM users AS users (ssn, email, id)
SELECT id FROM users AS users (a, b, c, id)
SELECT ssn FROM users AS u NATURAL FULL JOIN (SELECT 1 AS id) x
TABLE public.users
(TABLE users)
((SELECT ssn FROM users) UNION ALL (SELECT NULL)) ORDER BY 1
VALUES (1, (SELECT ssn FROM users ORDER BY id LIMIT 1)), (2, 'x')
SELECT * FROM (VALUES (1)) v, users
SELECT 1 FROM users, LATERAL (SELECT ssn) s WHERE s.ssn IS NOT NULL
SELECT CAST(ROW(ssn, 1) AS text) FROM users
SELECT ssn COLLATE "en-x-icu" FROM users
SELECT ssn AT TIME ZONE 'UTC' FROM users
SELECT (CASE WHEN true THEN users END).ssn FROM users
SELECT COALESCE(u, u) FROM users u
SELECT (COALESCE(u, u)).email FROM users u
SELECT NULLIF(u.*, NULL) FROM users u
SELECT GREATEST(ssn, email, name) FROM users
SELECT (SELECT array_agg(x) FROM (SELECT u.ssn) AS s(x)) FROM users u
SELECT xmin::text || ssn FROM users
SELECT merge_action()
SELECT JSON_SERIALIZE(to_json(ssn)) FROM users
SELECT JSON_VALUE(doc, '$.k'), JSON_QUERY(doc, '$'), JSON_EXISTS(doc, '$.k') FROM users
SELECT JSON_OBJECTAGG(id : ssn), JSON_ARRAYAGG(ssn) FROM users
SELECT ssn IS JSON, doc::text IS JSON OBJECT FROM users
