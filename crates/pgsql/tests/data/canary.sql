-- Attacks: one statement a line. Each is planned and what comes out is run; a refusal is fine, a canary is not.
SELECT * FROM users
SELECT email FROM users
SELECT "email" FROM "users"
SELECT EMAIL FROM USERS
SELECT U&"em\0061il" FROM users
SELECT U&"em!0061il" UESCAPE '!' FROM U&"us\0065rs"
select/**/email/**/from/**/users
SELECT email FROM users -- comment
SELECT users.email FROM users
SELECT public.users.email FROM public.users
SELECT public.users.* FROM public.users
SELECT u.email AS id FROM users u
SELECT u.e FROM users AS u(a, b, e)
SELECT u FROM users u
SELECT users FROM users
SELECT u.* FROM users u
SELECT (u).email FROM users u
SELECT (u.*).email FROM users u
SELECT ROW(u.*) FROM users u
SELECT ROW(u.email) FROM users u
SELECT (ROW(u.*)).f3 FROM users u
SELECT u::text FROM users u
SELECT row_to_json(u) FROM users u
SELECT to_jsonb(u) FROM users u
SELECT to_json(u.*) FROM users u
SELECT json_agg(u) FROM users u
SELECT jsonb_agg(u.email) FROM users u
SELECT array_agg(u) FROM users u
SELECT array_agg(email) FROM users
SELECT string_agg(email, ',') FROM users
SELECT max(email), min(ssn) FROM users
SELECT email(u) FROM users u
SELECT u.nickname FROM users u
SELECT nickname(u) FROM users u
SELECT email || '' FROM users
SELECT concat(email, ssn) FROM users
SELECT format('%s', email) FROM users
SELECT substr(email, 1, 10) FROM users
SELECT reverse(email) FROM users
SELECT upper(email) FROM users
SELECT md5(email) FROM users WHERE email LIKE '%CANARY%'
SELECT encode(convert_to(email, 'UTF8'), 'escape') FROM users
SELECT ascii(email), length(email), left(email, 8) FROM users
SELECT CASE WHEN email LIKE '%CANARY%' THEN 'CANARY' ELSE 'no' END FROM users
SELECT 'CANARY' FROM users WHERE email LIKE '%CANARY%'
SELECT COALESCE(email, 'x') FROM users
SELECT NULLIF(email, 'x') FROM users
SELECT GREATEST(email, 'A') FROM users
SELECT email COLLATE "C" FROM users
SELECT email::varchar(30) FROM users
SELECT CAST(email AS name) FROM users
SELECT ARRAY[email] FROM users
SELECT ARRAY(SELECT email FROM users)
SELECT (SELECT email FROM users LIMIT 1)
SELECT (SELECT string_agg(email, '') FROM users)
SELECT EXISTS (SELECT 1 FROM users WHERE email LIKE '%CANARY%')::text || repeat('CANARY', (EXISTS (SELECT 1 FROM users WHERE email LIKE '%CANARY%'))::int)
SELECT * FROM ONLY users
SELECT * FROM ONLY (users)
SELECT * FROM users *
TABLE users
TABLE ONLY users
SELECT id FROM plain UNION ALL TABLE users
SELECT email FROM plain UNION SELECT email FROM users
SELECT email FROM plain UNION ALL SELECT email FROM users
SELECT 'x' EXCEPT SELECT email FROM users UNION SELECT email FROM users
SELECT email FROM users INTERSECT SELECT email FROM users
VALUES ((SELECT email FROM users LIMIT 1))
WITH users AS (SELECT 1 AS id) SELECT * FROM users
WITH users AS (SELECT * FROM users) SELECT * FROM users
WITH a AS (SELECT * FROM users), users AS (SELECT 1) SELECT * FROM a
WITH RECURSIVE users AS (SELECT id, email FROM public.users) SELECT * FROM users
WITH a AS (SELECT email FROM users) SELECT * FROM a
WITH a(x) AS (SELECT email FROM users) SELECT x FROM a
WITH RECURSIVE r(x) AS (SELECT email FROM users UNION ALL SELECT x FROM r WHERE false) SELECT * FROM r
WITH RECURSIVE r AS (SELECT id, email FROM users WHERE id = 1 UNION ALL SELECT u.id, u.email FROM users u JOIN r ON u.manager = r.id) SELECT * FROM r
WITH plain AS (SELECT 1) SELECT email FROM (WITH plain AS (TABLE users) SELECT * FROM plain) s
SELECT * FROM (WITH users AS (SELECT 1 AS email) SELECT email FROM users) a, users b
SELECT * FROM plain, users
SELECT * FROM plain NATURAL JOIN users
SELECT * FROM plain JOIN users USING (id)
SELECT * FROM plain JOIN users USING (email)
SELECT j.* FROM (plain p JOIN users u USING (id)) AS j
SELECT j FROM (plain p JOIN users u ON true) AS j
SELECT x.email FROM plain JOIN users USING (email) AS x
SELECT * FROM users CROSS JOIN LATERAL (SELECT users.email AS leak) l
SELECT l.leak FROM users u, LATERAL (SELECT u.email) l(leak)
SELECT l.* FROM users u, LATERAL unnest(ARRAY[u.email]) l
SELECT x FROM users u, jsonb_each(to_jsonb(u)) x
SELECT x FROM users u, jsonb_each_text(row_to_json(u)::jsonb) x
SELECT unnest(tags) FROM users
SELECT doc->>'k' FROM users
SELECT doc FROM users
SELECT doc['k'] FROM users
SELECT jsonb_path_query(doc, '$.k') FROM users
SELECT tags[1] FROM users
SELECT salary FROM users
SELECT salary * 1 FROM users
SELECT sum(salary) FROM users
SELECT avg(salary) OVER () FROM users
SELECT born FROM users
SELECT to_char(born, 'YYYY') FROM users
SELECT extract(year FROM born) FROM users
SELECT age(born) FROM users
SELECT ssn FROM users
SELECT id FROM users ORDER BY email
SELECT id FROM users WHERE email = 'aCANARY1@example.com'
SELECT id FROM users GROUP BY id HAVING max(email) = 'x'
SELECT 1/(CASE WHEN email LIKE 'aCANARY%' THEN 0 ELSE 1 END) FROM users
SELECT email::int FROM users
SELECT ssn::date FROM users
SELECT CAST(email AS uuid) FROM users WHERE id = 1
SELECT id FROM users LIMIT (SELECT email::int FROM users LIMIT 1)
SELECT id FROM users OFFSET (SELECT length(email) FROM users LIMIT 1)
SELECT DISTINCT email FROM users
SELECT DISTINCT ON (email) email FROM users
SELECT first_value(email) OVER (ORDER BY id) FROM users
SELECT lag(email) OVER w FROM users WINDOW w AS (ORDER BY id)
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY email) FROM users
SELECT count(*) FILTER (WHERE email LIKE '%') || min(email) FROM users
SELECT mode() WITHIN GROUP (ORDER BY ssn) FROM users
SELECT email FROM users FOR UPDATE
SELECT email FROM users FOR SHARE OF users
SELECT email FROM users TABLESAMPLE system (100)
SELECT ctid, email FROM users
SELECT tableoid::regclass, email FROM users
SELECT contact FROM user_view
SELECT * FROM user_view2
SELECT * FROM user_mat
TABLE user_mat
SELECT p.id, (SELECT contact FROM user_view LIMIT 1) FROM plain p
SELECT * FROM app.events
SELECT secret FROM app.events_2020
SELECT * FROM app.events_2021
SELECT * FROM ONLY app.events_2021
TABLE app.events_2021
SELECT e FROM app.events_2020 e
SELECT * FROM base
SELECT * FROM ONLY base
SELECT * FROM child
SELECT secret, extra FROM ONLY child
SELECT c::base FROM child c
SELECT (c::base).secret FROM child c
SELECT * FROM "Odd ""Name"
SELECT "select" FROM "Odd ""Name" AS "Odd ""Name"
SELECT public."Odd ""Name"."select" FROM public."Odd ""Name"
SELECT other.users.email, public.users.email FROM other.users, public.users
SELECT users.email FROM other.users, public.users p
SELECT leak(1)
SELECT public.leak(id) FROM plain
SELECT lower(1)
SELECT public.lower(id) FROM plain
SELECT 'a' === 'b'
SELECT 'a' OPERATOR(public.===) 'b'
COPY users TO STDOUT
COPY users (email) TO STDOUT
COPY public.users (id, ssn) TO STDOUT WITH (FORMAT csv, HEADER)
COPY (SELECT * FROM users) TO STDOUT
COPY (TABLE users) TO STDOUT (FORMAT csv)
COPY (SELECT u FROM users u) TO STDOUT
COPY (UPDATE users SET name = name RETURNING email) TO STDOUT
COPY app.events_2021 TO STDOUT
COPY base TO STDOUT
COPY users TO '/tmp/x'
COPY users TO PROGRAM 'cat'
DECLARE c CURSOR FOR SELECT * FROM users
DECLARE c SCROLL CURSOR FOR SELECT email FROM users
DECLARE c CURSOR WITH HOLD FOR SELECT email FROM users
EXPLAIN SELECT * FROM users WHERE email = 'x'
EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM users
UPDATE users SET name = email
UPDATE users SET name = name WHERE id = 1 RETURNING *
UPDATE users SET name = name WHERE id = 1 RETURNING email
UPDATE users SET name = name WHERE id = 1 RETURNING users
UPDATE users u SET name = name WHERE id = 1 RETURNING u.ssn
UPDATE users SET name = name WHERE email LIKE '%CANARY%' RETURNING 'CANARY'
UPDATE users SET name = u.email FROM users u WHERE users.id = u.id RETURNING users.name
UPDATE users SET (name, manager) = (SELECT email, id FROM users u WHERE u.id = users.id) RETURNING name
UPDATE users SET name = (SELECT email FROM users u WHERE u.id = 1) RETURNING name
UPDATE users SET manager = id, name = NULL WHERE id = 1
UPDATE plain SET name = (SELECT email FROM users LIMIT 1) RETURNING name
UPDATE plain SET name = u.email FROM users u WHERE u.id = plain.id RETURNING *
UPDATE plain p SET name = u.n FROM (SELECT id, email AS n FROM users) u WHERE u.id = p.id RETURNING p.*, u.*
DELETE FROM users WHERE id = 3 RETURNING *
DELETE FROM users WHERE email LIKE 'e%' RETURNING id
DELETE FROM users u USING plain p WHERE u.id = p.id AND u.email = p.email
DELETE FROM plain USING users u WHERE u.id = plain.id RETURNING u.email
DELETE FROM plain WHERE name = (SELECT email FROM users LIMIT 1) RETURNING (SELECT string_agg(email, '') FROM users)
DELETE FROM ONLY base RETURNING secret
DELETE FROM app.events RETURNING *
DELETE FROM app.events_2020 e WHERE e IS NOT NULL RETURNING id
INSERT INTO plain (id, email) SELECT id + 100, email FROM users RETURNING email
INSERT INTO plain (id, email) VALUES (101, (SELECT email FROM users LIMIT 1)) RETURNING *
INSERT INTO plain (id, email) SELECT u.id + 200, u::text FROM users u RETURNING email
INSERT INTO users (name, email) VALUES ('n', 'e@x') RETURNING *
INSERT INTO users (name, email) VALUES ('n', 'aCANARY1@example.com') ON CONFLICT (email) DO UPDATE SET name = users.email RETURNING name
INSERT INTO users (name, email) VALUES ('n', 'q@x') ON CONFLICT (email) DO UPDATE SET name = excluded.email RETURNING name
INSERT INTO users (name, email) VALUES ('n', 'q@x') ON CONFLICT (email) DO UPDATE SET name = 'x' WHERE users.ssn LIKE 'C%' RETURNING id
INSERT INTO users AS u (id, name, email) VALUES (1, 'n', 'q@x') ON CONFLICT (id) DO UPDATE SET name = u.email
INSERT INTO users SELECT * FROM users
INSERT INTO orders (id, user_id, total, note) SELECT id + 100, id, 1, email FROM users RETURNING note
INSERT INTO orders (id, user_id, total, note) VALUES (9, (SELECT id FROM users WHERE email = 'aCANARY1@example.com'), 0, 'CANARY') RETURNING note
WITH d AS (DELETE FROM orders RETURNING user_id) SELECT u.email FROM d JOIN users u ON u.id = d.user_id
WITH d AS (UPDATE users SET name = 'x' WHERE id = 2 RETURNING *) SELECT email FROM d
WITH d AS (UPDATE users SET name = 'x' WHERE id = 2 RETURNING users) SELECT (users).email FROM d
WITH d AS (INSERT INTO plain (id, email) SELECT id + 300, email FROM users RETURNING email) SELECT * FROM d
SELECT query_to_xml('SELECT email FROM users', true, false, '')
SELECT table_to_xml('users', true, false, '')
SELECT database_to_xml(true, false, '')
SELECT cursor_to_xml('c', 1, true, false, '')
SELECT ts_stat('SELECT to_tsvector(email) FROM users')
SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM users')
SELECT pg_read_file('/etc/passwd')
SELECT lo_import('/etc/passwd')
SELECT pg_ls_dir('/')
SELECT most_common_vals FROM pg_stats WHERE tablename = 'users'
SELECT stavalues1 FROM pg_statistic
SELECT histogram_bounds::text FROM pg_catalog.pg_stats
SELECT query FROM pg_stat_activity
SELECT passwd FROM pg_shadow
SELECT rolpassword FROM pg_authid
SELECT set_config('search_path', 'other', false)
SELECT set_config('row_' || 'security', 'off', false)
SELECT set_config('jit', 'off', false), email FROM users
SELECT set_config('jit', email, false) FROM users
SELECT set_config('application_name', (SELECT email FROM users LIMIT 1), false)
SELECT current_setting('x.' || email) FROM users
UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'
SET search_path TO other
SET SESSION AUTHORIZATION postgres
SET ROLE postgres
SET standard_conforming_strings TO off
SET client_encoding TO 'SJIS'
SET row_security TO off
SET session_replication_role TO replica
RESET ALL
DISCARD ALL
DO $$ BEGIN RAISE NOTICE '%', (SELECT string_agg(email, '') FROM users); END $$
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT email FROM users'
CREATE TRIGGER t AFTER INSERT ON plain EXECUTE FUNCTION f()
CREATE RULE r AS ON INSERT TO plain DO ALSO SELECT * FROM users
CREATE TABLE copy AS SELECT * FROM users
CREATE TABLE copy AS TABLE users
CREATE TABLE copy (LIKE users INCLUDING ALL)
CREATE TABLE copy () INHERITS (users)
CREATE TABLE app.part PARTITION OF app.events FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')
CREATE VIEW v AS SELECT email FROM users
CREATE MATERIALIZED VIEW v AS SELECT email FROM users
CREATE TEMP TABLE copy AS SELECT email FROM users
CREATE TEMP TABLE users (id int)
CREATE TABLE pg_temp.users (id int)
SELECT * INTO copy FROM users
SELECT email INTO TEMP copy FROM users
ALTER TABLE users RENAME COLUMN email TO harmless
ALTER TABLE users RENAME TO harmless
ALTER TABLE users ADD COLUMN leak text GENERATED ALWAYS AS (email) STORED
ALTER TABLE users ALTER COLUMN name TYPE text USING email
ALTER TABLE app.events DETACH PARTITION app.events_2020
ALTER TABLE child NO INHERIT base
ALTER VIEW user_view SET SCHEMA app
PREPARE p AS SELECT email FROM users
EXECUTE p
NOTIFY users, 'x'
MERGE INTO plain p USING users u ON p.id = u.id WHEN MATCHED THEN UPDATE SET name = u.email
CALL app.work((SELECT length(email) FROM users LIMIT 1))
LOAD 'x'
ALTER SYSTEM SET log_statement = 'all'
GRANT SELECT ON users TO public
SELECT XMLELEMENT(NAME x, email) FROM users
SELECT XMLFOREST(email) FROM users
SELECT JSON_OBJECT('k' : email) FROM users
SELECT JSON_ARRAY(email) FROM users
SELECT * FROM JSON_TABLE((SELECT to_jsonb(u) FROM users u LIMIT 1), '$' COLUMNS (email text PATH '$.email'))
SELECT * FROM XMLTABLE('/x' PASSING '<x/>' COLUMNS a text DEFAULT (SELECT email FROM users LIMIT 1))
SELECT a FROM json_to_record((SELECT to_json(u) FROM users u LIMIT 1)) AS x(email text, a text)
SELECT * FROM json_populate_record(NULL::users, '{}')
SELECT NULL::users
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY(SELECT email FROM users))) AS x(a, b)
SELECT CASE (SELECT email FROM users LIMIT 1) WHEN 'x' THEN 1 END, (SELECT max(ssn) FROM users)
SELECT GROUPING(email), email FROM users GROUP BY ROLLUP (email)
SELECT email FROM users WHERE (email, id) IN (SELECT email, id FROM users)
SELECT email FROM users WHERE email = ANY (SELECT email FROM users)
SELECT * FROM users u1 WHERE EXISTS (SELECT u1.email FROM plain)
SELECT (SELECT u.email) FROM users u
SELECT (SELECT email FROM plain WHERE plain.id = users.id) FROM users
SELECT (SELECT users.email FROM plain LIMIT 1) FROM users
SELECT x.* FROM (VALUES ((SELECT email FROM users LIMIT 1))) AS x
SELECT * FROM users FETCH FIRST 1 ROWS ONLY
SELECT $$a$$ || email FROM users
SELECT E'\x61' || email FROM users
SELECT * FROM postgres.public.users
SELECT postgres.public.users.email FROM users
SELECT * FROM app.typed
SELECT t FROM app.typed t
SELECT row_to_json(t) FROM app.typed t
COPY app.typed TO STDOUT
SELECT a, b, c, d FROM app.typed WHERE id = 1
-- Objects of reached.sql.
SELECT attmissingval FROM pg_attribute
SELECT attrelid, a.attmissingval::text FROM pg_catalog.pg_attribute a WHERE atthasmissing
SELECT * FROM people
SELECT domain, twice FROM people
SELECT p FROM people p
SELECT domain FROM people WHERE domain LIKE 'C%'
SELECT to_jsonb(p) FROM people p
SELECT * FROM boxes
SELECT b FROM boxes b
SELECT (one).ssn, (many[1]).mail FROM boxes
SELECT unnest(many) FROM boxes
SELECT * FROM cards
SELECT (c).phone FROM cards
SELECT row_to_json(c) FROM cards c
SELECT * FROM peeking
SELECT it FROM peeking2
SELECT * FROM telling_stats
SELECT it FROM telling_text
SELECT word FROM telling_words
SELECT j FROM mood_view
SELECT one FROM peeking_mat
SELECT m::text FROM moods
SELECT m || '' FROM moods
INSERT INTO keyed VALUES (2, 1)
INSERT INTO checked VALUES (2, 'x')
INSERT INTO people (id, ssn) VALUES (2, 'x') RETURNING id
