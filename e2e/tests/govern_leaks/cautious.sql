-- Refused under masks on users.email and users.ssn, although it would show nothing: one statement a line.
-- Changes that read a masked column: a predicate tells no more than that of a SELECT, which passes.
DELETE FROM users WHERE ssn = 'x'
UPDATE users SET name = name WHERE email LIKE 'nobody%'
UPDATE users SET email = email WHERE id = 1
INSERT INTO users (name, email) VALUES ('n', 'e@x') ON CONFLICT (email) DO UPDATE SET name = users.email
-- Plans, locks and samples.
EXPLAIN SELECT id FROM users
SELECT id FROM users FOR UPDATE
SELECT id FROM users TABLESAMPLE SYSTEM (100)
-- Things made of a masked table.
CREATE VIEW v AS SELECT id, email FROM users
CREATE TABLE copy (LIKE users INCLUDING ALL)
CREATE TABLE copy AS SELECT id FROM users
SELECT id INTO copy FROM users
-- Of a session.
CREATE TEMP TABLE tt (a int)
PREPARE p AS SELECT 1
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM users
RESET ALL
SET search_path = public
-- Kinds, types and functions that nobody has reviewed.
MERGE INTO plain p USING plain q ON p.id = q.id WHEN MATCHED THEN DO NOTHING
SELECT NULL::users
SELECT pg_column_size(ssn) FROM users
SELECT pg_sleep(0)
SELECT txid_current()
SELECT pg_try_advisory_xact_lock(1)
SELECT relname FROM pg_stat_user_tables LIMIT 1
DO $$ BEGIN NULL; END $$
