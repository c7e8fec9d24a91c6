-- What agents ask every day, one statement a line; public.users.email and public.users.ssn are masked.
SELECT 1
SELECT version()
SELECT now() IS NOT NULL AS there
SELECT current_database(), current_schema()
SELECT count(*) FROM users
SELECT id, name FROM users ORDER BY id
SELECT id, name, mood FROM users WHERE id = 1
SELECT name FROM users WHERE name LIKE 'a%'
SELECT name FROM users WHERE name ILIKE 'A%' OR id IN (2, 3) ORDER BY name
SELECT id FROM users WHERE manager IS NULL
SELECT id, coalesce(manager, 0) FROM users ORDER BY 1
SELECT name, email FROM users ORDER BY id
SELECT id, email, ssn FROM users ORDER BY id
SELECT * FROM users ORDER BY id
SELECT u.* FROM users u WHERE u.id = 2
SELECT upper(name), length(name) FROM users ORDER BY id
SELECT name || ' <' || mood || '>' FROM users ORDER BY id
SELECT DISTINCT manager FROM users ORDER BY 1
SELECT mood, count(*) FROM users GROUP BY mood ORDER BY 1
SELECT manager, count(*) AS n FROM users GROUP BY manager HAVING count(*) > 1
SELECT max(salary), min(salary), avg(salary) FROM users
SELECT extract(year FROM born) AS y, count(*) FROM users GROUP BY 1 ORDER BY 1
SELECT date_trunc('month', born) FROM users ORDER BY id
SELECT name, age(DATE '2000-01-01', born) FROM users ORDER BY id
SELECT to_char(born, 'YYYY-MM-DD') FROM users ORDER BY id
SELECT name FROM users WHERE born BETWEEN '1977-01-01' AND '1977-12-31'
SELECT name FROM users WHERE born > DATE '1900-01-01' AND born < now() - interval '1 year' ORDER BY 1
SELECT tags FROM users WHERE id = 3
SELECT doc ->> 'k' IS NULL FROM users ORDER BY id
SELECT id FROM users WHERE doc @> '{"x": 1}'
SELECT id FROM users WHERE tags && ARRAY['x', 'y']
SELECT jsonb_build_object('id', id, 'name', name) FROM users ORDER BY id
SELECT json_agg(name ORDER BY id) FROM users
SELECT json_object_agg(id, name ORDER BY id) FROM users
SELECT array_agg(id ORDER BY id DESC) FROM users
SELECT string_agg(name, ', ' ORDER BY name) FROM users
SELECT to_jsonb(o) FROM orders o ORDER BY id
SELECT row_to_json(o) FROM orders o WHERE id = 1
SELECT o.id, o.total, u.name FROM orders o JOIN users u ON u.id = o.user_id ORDER BY o.id
SELECT u.name, sum(o.total) FROM users u JOIN orders o ON o.user_id = u.id GROUP BY u.name ORDER BY 2 DESC
SELECT u.name, count(o.id) FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id, u.name ORDER BY u.id
SELECT o.id, u.email FROM orders o JOIN users u ON u.id = o.user_id ORDER BY o.id
SELECT m.name AS manager, e.name AS employee FROM users e JOIN users m ON m.id = e.manager ORDER BY 2
SELECT name FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id) ORDER BY 1
SELECT name FROM users WHERE id NOT IN (SELECT user_id FROM orders)
SELECT name, (SELECT count(*) FROM orders o WHERE o.user_id = u.id) AS n FROM users u ORDER BY id
SELECT * FROM orders ORDER BY total DESC LIMIT 2
SELECT * FROM orders ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROW ONLY
SELECT id, total, total * 1.19 AS gross FROM orders ORDER BY id
SELECT sum(total), avg(total), count(*) FILTER (WHERE note IS NULL) FROM orders
SELECT CASE WHEN total > 15 THEN 'big' ELSE 'small' END AS size, count(*) FROM orders GROUP BY 1 ORDER BY 1
SELECT id, total, sum(total) OVER (ORDER BY id) AS running FROM orders ORDER BY id
SELECT id, rank() OVER (PARTITION BY user_id ORDER BY total DESC) FROM orders ORDER BY id
SELECT id, lag(total) OVER w, lead(total) OVER w FROM orders WINDOW w AS (ORDER BY id) ORDER BY id
SELECT id, row_number() OVER (ORDER BY total) FROM orders ORDER BY id
SELECT ntile(2) OVER (ORDER BY id), id FROM orders ORDER BY id
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders
SELECT user_id, total, grouping(user_id) FROM orders GROUP BY GROUPING SETS ((user_id, total), ()) ORDER BY 1, 2
SELECT user_id, sum(total) FROM orders GROUP BY ROLLUP (user_id) ORDER BY 1
SELECT user_id, sum(total) FROM orders GROUP BY CUBE (user_id) ORDER BY 1
WITH big AS (SELECT * FROM orders WHERE total > 15) SELECT count(*) FROM big
WITH t AS (SELECT user_id, sum(total) AS s FROM orders GROUP BY user_id) SELECT u.name, t.s FROM t JOIN users u ON u.id = t.user_id ORDER BY 1
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n
WITH RECURSIVE up AS (SELECT id, name, manager FROM users WHERE id = 2 UNION ALL SELECT u.id, u.name, u.manager FROM users u JOIN up ON u.id = up.manager) SELECT name FROM up
SELECT id FROM orders UNION SELECT id FROM plain ORDER BY 1
SELECT id FROM orders INTERSECT SELECT id FROM plain ORDER BY 1
SELECT id FROM orders EXCEPT SELECT id FROM plain ORDER BY 1
SELECT 'orders' AS what, count(*) FROM orders UNION ALL SELECT 'users', count(*) FROM users
SELECT * FROM generate_series(1, 3) AS n
SELECT d::date FROM generate_series(DATE '2024-01-01', DATE '2024-01-03', interval '1 day') AS d
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(id, name)
SELECT v.name, o.total FROM (VALUES (1, 'first')) AS v(id, name) JOIN orders o USING (id)
SELECT l.* FROM users u, LATERAL (SELECT max(total) AS most FROM orders WHERE user_id = u.id) l ORDER BY 1
SELECT unnest(ARRAY[1, 2, 3]) AS n
SELECT * FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS t(x, n)
SELECT string_to_array('a,b,c', ',')
SELECT regexp_replace(note, 'o', '0') FROM orders ORDER BY id
SELECT regexp_matches('a1b2', '[0-9]', 'g')
SELECT split_part(note, 'r', 1) FROM orders WHERE note IS NOT NULL ORDER BY id
SELECT to_tsvector('english', coalesce(note, '')) @@ to_tsquery('english', 'first') FROM orders ORDER BY id
SELECT ts_rank(to_tsvector('english', note), plainto_tsquery('english', 'second')) FROM orders WHERE note IS NOT NULL ORDER BY id
SELECT id FROM orders WHERE note ~ '^f' AND note !~ 'z$'
SELECT id FROM orders WHERE (total, user_id) > (10, 1) ORDER BY id
SELECT id FROM orders WHERE total = ANY (ARRAY[10, 30]) ORDER BY id
SELECT greatest(total, 15), least(total, 15) FROM orders ORDER BY id
SELECT total::text, total::numeric(8, 2), cast(total AS float8) FROM orders ORDER BY id
SELECT round(total / 3.0, 2), total % 7, power(total, 2) FROM orders ORDER BY id
SELECT nullif(total, 10), coalesce(note, 'none') FROM orders ORDER BY id
SELECT md5(note) FROM orders WHERE note IS NOT NULL ORDER BY id
SELECT format('%s costs %s', id, total) FROM orders ORDER BY id
SELECT concat_ws('-', id, user_id, total) FROM orders ORDER BY id
SELECT overlay(note placing 'xx' from 1 for 2), position('i' in note) FROM orders WHERE note IS NOT NULL ORDER BY id
SELECT json_build_array(id, total) FROM orders ORDER BY id
SELECT jsonb_agg(jsonb_build_object('id', id, 'total', total) ORDER BY id) FROM orders
SELECT x ->> 'a' FROM jsonb_array_elements('[{"a": 1}, {"a": 2}]') AS x
SELECT key, value FROM jsonb_each_text('{"a": 1, "b": 2}') ORDER BY key
SELECT jsonb_path_query('{"a": [1, 2]}', '$.a[*]')
SELECT id, open, day FROM app.events ORDER BY id
SELECT count(*) FROM app.events WHERE day >= '2020-01-01' AND day < '2021-01-01'
SELECT id, flag, at FROM plain ORDER BY id
SELECT id FROM plain WHERE flag IS NOT TRUE
SELECT p.email, p.name FROM plain p ORDER BY id
SELECT id, name FROM plain_view ORDER BY id
SELECT id, name FROM plain_view WHERE id = 1
SELECT email FROM other.users
SELECT "Col 1" FROM "Odd ""Name"
SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name = 'orders'
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders' AND table_schema = 'public' ORDER BY ordinal_position
SELECT relname FROM pg_class WHERE relkind = 'r' AND relname IN ('orders', 'users') ORDER BY 1
SELECT attname FROM pg_attribute WHERE attrelid = 'public.orders'::regclass AND attnum > 0 ORDER BY attnum
SELECT conname, contype FROM pg_constraint WHERE conrelid = 'public.orders'::regclass ORDER BY 1
SELECT indexname FROM pg_indexes WHERE tablename = 'orders' AND schemaname = 'public' ORDER BY 1
SELECT nspname FROM pg_namespace WHERE nspname IN ('public', 'app') ORDER BY 1
SELECT typname FROM pg_type WHERE typname = 'int4'
SHOW server_version
