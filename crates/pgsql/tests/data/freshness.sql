-- Stars in target lists.
SELECT * FROM n
SELECT n.* FROM n
SELECT public.n.* FROM public.n
SELECT x.* FROM n x
SELECT *, 1 AS late FROM n ORDER BY id
SELECT id, n.* FROM n
SELECT n.*, m.* FROM n JOIN m ON n.id = m.id
SELECT * FROM n, m WHERE n.id = m.id
SELECT * FROM public.n, s2.n
SELECT * FROM n, generate_series(1, 2)
SELECT * FROM n, generate_series(1, 2) AS g(i)
SELECT * FROM n, LATERAL (SELECT * FROM m WHERE m.id = n.id) l
SELECT * FROM n, LATERAL (SELECT n.*) l
SELECT (SELECT count(*) FROM (SELECT n.*) s) FROM n
SELECT * FROM ONLY n
SELECT * FROM n *
SELECT * FROM par
SELECT * FROM par1
TABLE n
TABLE ONLY n
SELECT * FROM n UNION ALL SELECT * FROM n
SELECT * FROM n UNION SELECT id, contact, tag FROM n ORDER BY 1
TABLE n UNION ALL TABLE n
SELECT * FROM "Odd ""t"
SELECT x.* FROM "Odd ""t" AS "X y", "Odd ""t" x
SELECT to_json("X y") FROM "Odd ""t" AS "X y"
DELETE FROM "Odd ""t" RETURNING *
SELECT count(*) FROM (SELECT * FROM bare) b
SELECT * FROM bare, n
SELECT to_json(bare) FROM bare
SELECT bare FROM bare
SELECT * FROM v
SELECT to_json(v) FROM v
SELECT v.*, n.* FROM v JOIN n USING (id)
SELECT * FROM (n JOIN m USING (id)) JOIN s2.n AS k USING (id)
SELECT n.*, m.size FROM n JOIN m USING (id)
SELECT * FROM (VALUES (1, 2)) v(a, b), n
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) WITH ORDINALITY, n
SELECT * FROM n, unnest(ARRAY[1, 2])
SELECT * FROM n x, n y WHERE x.id = y.id
SELECT n.*, x.* FROM n, n x ORDER BY 1, 4
SELECT DISTINCT * FROM n ORDER BY 1
SELECT DISTINCT ON (id) n.* FROM n ORDER BY id, tag
SELECT * FROM n ORDER BY 3 DESC, 1
SELECT id, contact, tag, row_number() OVER (ORDER BY id) FROM (SELECT * FROM n) s
SELECT n.*, rank() OVER w FROM n WINDOW w AS (ORDER BY id)
SELECT l.* FROM n CROSS JOIN LATERAL (SELECT m.*, n.tag FROM m WHERE m.id = n.id) l
SELECT * FROM n JOIN (SELECT id AS late FROM m) q ON q.late = n.id
SELECT * FROM n LEFT JOIN LATERAL (VALUES (n.id)) k(z) ON true
SELECT * FROM n EXCEPT SELECT * FROM n WHERE id = 1
SELECT to_json(x) FROM (SELECT * FROM n) x
SELECT to_json(x) FROM (TABLE n) x
SELECT x FROM (SELECT n.* FROM n) x
WITH a AS (SELECT * FROM n) SELECT to_json(a) FROM a
WITH a AS (TABLE n) SELECT * FROM a
WITH a AS (DELETE FROM n WHERE id = 1 RETURNING *) SELECT to_json(a) FROM a
WITH RECURSIVE r AS (SELECT * FROM n WHERE id = 1 UNION ALL SELECT n.* FROM n JOIN r ON n.id = r.id + 1) SELECT * FROM r
SELECT ARRAY(SELECT x FROM (SELECT * FROM n) x)
SELECT id FROM n WHERE EXISTS (SELECT * FROM m WHERE m.id = n.id)
SELECT id FROM n WHERE (id, contact) IN (SELECT * FROM (SELECT id, contact FROM m) s)
SELECT n.*, count(m.id) FROM n LEFT JOIN m ON m.id = n.id GROUP BY n.id ORDER BY n.id
SELECT to_json(x) FROM (SELECT n.*, count(m.id) FROM n LEFT JOIN m ON m.id = n.id GROUP BY n.id) x
SELECT ctid, * FROM n
SELECT tableoid::int > 0, n.* FROM n
SELECT * FROM n TABLESAMPLE bernoulli (100)
SELECT * FROM n FOR UPDATE
SELECT * FROM n JOIN m USING (id) FOR UPDATE
SELECT * FROM n x FOR SHARE OF x
SELECT to_json(n) FROM n FOR UPDATE
SELECT * FROM n JOIN m USING (id)
SELECT * FROM n LEFT JOIN m USING (id, contact)
SELECT * FROM n FULL JOIN m USING (contact)
SELECT * FROM n NATURAL JOIN m
SELECT 1 FROM n NATURAL JOIN m
SELECT * FROM (n JOIN m ON n.id = m.id) AS j(a, b, c, d, e, f)
SELECT j.b FROM (n JOIN m ON n.id = m.id) AS j(a, b, c)
SELECT j FROM (n JOIN m ON n.id = m.id) AS j
SELECT * FROM n AS x(a, b)
SELECT b FROM n AS x(a, b)
SELECT x.b, public.m.id FROM public.m, n AS x(a, b)
EXPLAIN (COSTS OFF) SELECT * FROM n
EXPLAIN (COSTS OFF) SELECT to_json(n) FROM n
COPY n TO STDOUT
COPY (SELECT * FROM n) TO STDOUT
COPY (TABLE n) TO STDOUT
COPY (SELECT to_json(n) FROM n) TO STDOUT
COPY (DELETE FROM n WHERE id = 2 RETURNING *) TO STDOUT
DECLARE c CURSOR FOR SELECT * FROM n
DECLARE c CURSOR FOR SELECT to_json(n) FROM n
VALUES ((SELECT to_json(n) FROM n LIMIT 1))
-- Whole rows.
SELECT n FROM n
SELECT n::text FROM n
SELECT x FROM n x
SELECT to_json(n) FROM n
SELECT to_json(n.*) FROM n
SELECT row_to_json(x) FROM n x
SELECT json_agg(n) FROM n
SELECT ROW(n.*) FROM n
SELECT (n).tag FROM n
SELECT (n).* FROM n
SELECT (n.*).id FROM n
SELECT (x).* FROM (SELECT n AS x FROM n) s
SELECT count(n) FROM n
SELECT max(n::text) FROM n
SELECT to_json(n), public.n.id, public.n.tag FROM public.n WHERE public.n.id = 1
SELECT n.id FROM n WHERE n::text LIKE '%CAN%'
SELECT n.id FROM n ORDER BY n
SELECT n, count(*) FROM n GROUP BY n ORDER BY 1
SELECT DISTINCT n FROM n ORDER BY 1
SELECT n.id FROM n WHERE n IS NOT NULL
SELECT n IN (SELECT x FROM n x) FROM n
SELECT n.id FROM n WHERE (SELECT n::text) LIKE '%CAN%'
SELECT (SELECT to_json(n)) FROM n
SELECT to_json(n) FROM n LEFT JOIN m ON n = n
SELECT to_json(par) FROM par
SELECT to_json(par1) FROM par1
SELECT array_agg(n) FROM n
SELECT jsonb_each_text(to_jsonb(n)) FROM n
SELECT k.value FROM n, jsonb_each_text(to_jsonb(n)) k
SELECT lower(n::text), length(n::text) FROM n
-- Changes.
INSERT INTO sink SELECT * FROM n
INSERT INTO sink TABLE n
INSERT INTO sink (id, contact) SELECT id, to_json(n)::text FROM n
INSERT INTO sink (contact) SELECT (SELECT string_agg(x::text, '') FROM n x)
INSERT INTO n (id, contact) VALUES (7, 'c') RETURNING *
INSERT INTO n AS t (id, contact) VALUES (7, 'c') RETURNING t.*
INSERT INTO n (id, contact) VALUES (1, 'c') ON CONFLICT (id) DO UPDATE SET tag = 'z' RETURNING *
UPDATE n SET tag = 'z' WHERE id = 1 RETURNING *
UPDATE n x SET tag = 'z' WHERE id = 1 RETURNING x.*, 1
UPDATE n SET tag = m.contact FROM m WHERE m.id = n.id RETURNING *
UPDATE n SET tag = (SELECT to_json(m)::text FROM m WHERE m.id = n.id) RETURNING id
UPDATE sink SET (contact, tag) = (SELECT x.contact, x::text FROM n x LIMIT 1) RETURNING *
DELETE FROM n WHERE id = 1 RETURNING *
DELETE FROM n USING m WHERE m.id = n.id RETURNING n.*, to_json(m)
!UPDATE n SET tag = 'z' RETURNING to_json(n)
!DELETE FROM n RETURNING n
!UPDATE n SET tag = to_json(n)::text
!UPDATE n SET tag = 'z' WHERE n::text LIKE '%CAN%'
!DELETE FROM n USING m a JOIN m b USING (id) WHERE a.id = n.id RETURNING *
!INSERT INTO n (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET tag = to_json(excluded)::text
!SELECT ctid, to_json(n) FROM n
!SELECT to_json(n) FROM n TABLESAMPLE bernoulli (100)
-- Columns whose names mean something else once they are gone.
SELECT body FROM odd AS body
SELECT to_json(body) FROM odd AS body
SELECT body::text FROM odd AS body WHERE id = 1
SELECT (SELECT body) FROM odd AS body
SELECT id FROM odd AS body WHERE body LIKE '%b%'
SELECT id FROM odd AS body ORDER BY body
SELECT (SELECT to_json(max(body)) FROM odd) FROM m AS body
SELECT (SELECT to_json(body) FROM odd LIMIT 1) FROM m AS body
SELECT odd.to_json, odd.concat, odd.note, odd._t FROM odd
SELECT public.odd.to_json FROM odd
SELECT x.concat FROM odd x WHERE x.note = 'n'
SELECT m.size FROM m
SELECT * FROM odd
SELECT * FROM odd, n
SELECT o.* FROM odd o
SELECT o.* FROM odd AS _t, odd AS o
SELECT _t FROM odd AS _t
TABLE odd
SELECT x FROM odd x
COPY odd TO STDOUT
COPY odd (to_json, id) TO STDOUT
COPY (SELECT odd.to_json FROM odd) TO STDOUT
SELECT (SELECT x::text FROM odd x LIMIT 1) FROM m AS note
SELECT (SELECT x::text FROM odd x LIMIT 1) FROM m AS body, m AS note
SELECT (SELECT to_json(x) FROM odd x WHERE x.id = y.id) FROM odd y
SELECT y.id FROM odd y WHERE EXISTS (SELECT 1 FROM odd x WHERE x::text <> '' AND x.id = y.id)
SELECT l.j FROM m AS body, LATERAL (SELECT to_json(x) AS j FROM odd x) l
UPDATE n AS body SET tag = (SELECT to_json(x)::text FROM odd x LIMIT 1) RETURNING tag
UPDATE n SET tag = (SELECT x.to_json FROM odd x WHERE x.id = n.id) RETURNING tag
UPDATE odd SET note = 'z' RETURNING id, body, note, to_json, concat, _t
UPDATE odd SET note = odd.body WHERE odd.id = 1 RETURNING odd.id
!UPDATE odd AS body SET id = id RETURNING body::text
!UPDATE odd AS body SET id = id RETURNING to_json(body)
!UPDATE odd AS body SET id = id WHERE body LIKE '%CAN%'
!UPDATE odd AS body SET note = body
!INSERT INTO odd AS body (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = body.id RETURNING body::text
!DELETE FROM odd AS body RETURNING (SELECT body)
!UPDATE odd AS body SET id = id RETURNING (SELECT max(body) FROM odd)
UPDATE odd SET id = id RETURNING *
UPDATE odd SET id = id RETURNING odd.*
INSERT INTO odd AS x (id) VALUES (7) RETURNING x.*
!UPDATE odd SET id = id RETURNING odd.concat
!UPDATE odd SET id = id RETURNING public.odd.note
!DELETE FROM odd WHERE odd.to_json LIKE '%CAN%'
!INSERT INTO odd (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET tag = excluded.to_json
-- A schema before a name that something nearer has.
!SELECT (SELECT ROW(public.n.*)::text FROM (SELECT 1) n) FROM public.n
!SELECT row_to_json(public.n.*) FROM public.n, s2.n
!SELECT public.odd.note, s2.odd.id FROM public.odd, s2.odd
SELECT s.* FROM public.n, LATERAL (SELECT public.n.* FROM m n LIMIT 1) s
SELECT s.* FROM public.n, LATERAL (SELECT public.n.* FROM (SELECT 1 AS one) n LIMIT 1) s
SELECT to_json(s) FROM public.n, LATERAL (SELECT public.n.* FROM m n LIMIT 1) s
-- Names that a column could take over that is not there yet.
SELECT late FROM n, (SELECT 1 AS q) late
SELECT late::text FROM n, (SELECT 1 AS q) late
SELECT ROW(late) FROM n, (SELECT 1 AS q) late
SELECT to_json(late) FROM n, (SELECT 1 AS q) late
SELECT late IS NULL FROM n, (SELECT 1 AS q) late
SELECT late.q, lower(late::text) FROM (SELECT 1 AS q) late, n WHERE late = ROW(1)
SELECT (SELECT late FROM m LIMIT 1) FROM (SELECT 'x' AS late) q
SELECT (SELECT late::text FROM m LIMIT 1) FROM (SELECT 1 AS q) late
SELECT (SELECT lower(late) FROM m LIMIT 1) FROM (SELECT 'x' AS late) q
SELECT q.late FROM (SELECT 'x' AS late) q WHERE EXISTS (SELECT 1 FROM m WHERE late LIKE 'C%')
SELECT late FROM m, generate_series(1, 2) late
SELECT late::text FROM m, jsonb_array_elements('[1]') late
SELECT (SELECT value || '' FROM m LIMIT 1) FROM jsonb_each_text('{"a": "b"}')
SELECT (SELECT late FROM m LIMIT 1) FROM jsonb_array_elements('[1]') AS e(late)
DELETE FROM n USING (SELECT 1 AS q) late WHERE n.id = late.q RETURNING to_json(late), late::text
UPDATE n SET tag = 'z' FROM jsonb_array_elements('[1]') AS f(late) WHERE n.id = 1 RETURNING late
UPDATE n SET tag = late FROM generate_series(1, 1) late WHERE n.id = 1 RETURNING late
!UPDATE n SET tag = 'z' FROM jsonb_array_elements('[1]') late WHERE n.id = 1 RETURNING late
!DELETE FROM n USING (SELECT 1 AS q) late WHERE n.id = late.q RETURNING late
!SELECT late || '' FROM n LEFT JOIN (VALUES ('x')) v(late) USING (late)
!SELECT lower(late) FROM (VALUES ('x')) v(late) RIGHT JOIN n USING (late)
-- Functions of a row that is not known.
!SELECT a.to_json FROM pg_attribute a
!SELECT a.json_agg FROM pg_attribute a
!SELECT p.to_json FROM pg_proc p
!SELECT c.seen FROM pg_class c
!SELECT body FROM odd, pg_attribute AS body
SELECT odd.whole FROM odd
SELECT x.whole, x.id FROM odd x JOIN n ON n.id = x.id
!UPDATE odd SET id = id RETURNING odd.whole
UPDATE odd SET id = id RETURNING whole, odd.max
