-- Sessions of several statements, parted by an empty line. Nothing of them stays: what is not refused is rolled back.

-- A cursor, in both directions.
BEGIN
DECLARE c SCROLL CURSOR FOR SELECT * FROM users
FETCH 1 FROM c
FETCH LAST FROM c
FETCH BACKWARD ALL FROM c
MOVE FIRST FROM c
FETCH RELATIVE 1 FROM c
ROLLBACK

-- A cursor that outlives its transaction.
BEGIN
DECLARE c CURSOR WITH HOLD FOR SELECT ssn, email FROM users
COMMIT
FETCH ALL FROM c
CLOSE c

-- A name of a cursor that changes hands.
BEGIN
DECLARE c CURSOR FOR SELECT id FROM orders
CLOSE c
DECLARE c CURSOR FOR SELECT ssn FROM users
FETCH ALL FROM c
ROLLBACK

-- Prepared in SQL.
PREPARE p AS SELECT ssn FROM users
EXECUTE p
DEALLOCATE p

PREPARE p(int) AS SELECT ssn FROM users WHERE id = $1
EXECUTE p(1)
EXPLAIN EXECUTE p(1)
DEALLOCATE ALL

-- A value written to where it can be read, then read.
BEGIN
UPDATE orders SET note = (SELECT ssn FROM users WHERE users.id = user_id) WHERE id = 1
SELECT note FROM orders
ROLLBACK

BEGIN
INSERT INTO plain (id, email, name) SELECT id + 500, email, ssn FROM users
SELECT email, name FROM plain
COPY plain TO STDOUT
ROLLBACK

BEGIN
UPDATE users SET name = ssn WHERE id = 1
SELECT name FROM users
ROLLBACK

BEGIN
UPDATE users SET name = u.email FROM users u WHERE u.id = users.id
SELECT name FROM users
ROLLBACK

BEGIN
MERGE INTO plain p USING users u ON p.id = u.id WHEN MATCHED THEN UPDATE SET name = u.ssn
SELECT name FROM plain
ROLLBACK

-- A masked column under another name, or behind another relation.
BEGIN
ALTER TABLE users RENAME COLUMN ssn TO open
SELECT open FROM users
ROLLBACK

BEGIN
CREATE TEMP TABLE t AS SELECT * FROM users
SELECT * FROM t
ROLLBACK

BEGIN
CREATE TEMP VIEW v AS SELECT ssn AS s FROM users
SELECT s FROM v
ROLLBACK

BEGIN
CREATE TEMP TABLE users (id int, ssn text)
INSERT INTO users SELECT id, ssn FROM public.users
SELECT ssn FROM pg_temp.users
ROLLBACK

BEGIN
CREATE FUNCTION pg_temp.f() RETURNS SETOF text LANGUAGE sql AS 'SELECT ssn FROM public.users'
SELECT pg_temp.f()
ROLLBACK

BEGIN
DO $$ BEGIN PERFORM set_config('application_name', (SELECT ssn FROM public.users LIMIT 1), false); END $$
SHOW application_name
SELECT current_setting('application_name')
ROLLBACK

-- The search path, and what is found on it.
SET search_path = other, public
SELECT * FROM users
SELECT users.* FROM public.users
RESET search_path
SELECT ssn FROM users

SELECT set_config('search_path', 'app, other', false)
SELECT secret FROM events
SELECT * FROM events_2020

-- Settings that change what a text means, or what an error says.
SET standard_conforming_strings = off
SELECT 'a\' || ssn FROM users
SET standard_conforming_strings = on

SET client_encoding = 'SJIS'
SELECT ssn FROM users
SET client_encoding = 'UTF8'

SET xmloption = 'document'
SELECT xmlelement(name u, ssn) FROM users

SET bytea_output = 'escape'
SELECT ssn::bytea FROM users
SET bytea_output = 'hex'

SET DateStyle = 'Postgres, DMY'
SET IntervalStyle = 'iso_8601'
SELECT born FROM users
SELECT n, j, k FROM app.typed

SET extra_float_digits = 3
SELECT salary::float8, h FROM app.typed, users
SET client_min_messages = 'debug5'
SELECT ssn::int FROM users
SET debug_print_plan = on
SELECT ssn FROM users WHERE ssn > 'A'

SET ROLE postgres
SELECT ssn FROM users
RESET ROLE

SET row_security = off
SELECT * FROM guarded
TABLE users

-- Savepoints, and errors that name values.
BEGIN
SAVEPOINT a
SELECT ssn::int FROM users
ROLLBACK TO a
INSERT INTO users (name, email) VALUES ('x', 'aCANARY1@example.com')
ROLLBACK TO SAVEPOINT a
DELETE FROM users WHERE id = 1
ROLLBACK TO a
SELECT ssn FROM users
ROLLBACK

BEGIN
SET CONSTRAINTS ALL DEFERRED
UPDATE users SET manager = 99 WHERE id = 2
COMMIT

-- Notifications to oneself.
LISTEN c
NOTIFY c, 'x'
SELECT pg_notify('c', ssn) FROM users
UNLISTEN *

-- Statistics of one's own statements.
ANALYZE users
SELECT query FROM pg_stat_activity
SELECT * FROM pg_stats WHERE tablename = 'users'
SELECT most_common_vals::text FROM pg_stats WHERE attname = 'ssn'

-- Two statements in one text.
SELECT 1; SELECT ssn FROM users
BEGIN; SELECT ssn FROM users; COMMIT
SELECT ssn FROM users; ROLLBACK; SELECT email FROM users

-- Large objects.
BEGIN
SELECT lo_from_bytea(4711, (SELECT ssn::bytea FROM users WHERE id = 1))
SELECT lo_get(4711)
ROLLBACK

-- COPY in, and what came of it.
BEGIN
COPY plain (id, name) FROM STDIN
SELECT name FROM plain
ROLLBACK
