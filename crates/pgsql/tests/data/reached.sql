-- Ways from a masked column to other places of the database: public.people.ssn and public.people.mail are masked.
CREATE FUNCTION app.peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM public.users LIMIT 1';
CREATE FUNCTION app.fine(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE TABLE public.people (
  id int PRIMARY KEY, mail text, ssn text UNIQUE, tenant int,
  domain text GENERATED ALWAYS AS (substr(mail, 1, 20)) STORED,
  twice int GENERATED ALWAYS AS (id * 2) STORED,
  EXCLUDE USING btree (lower(mail) WITH =) WHERE (tenant > 0)
);
INSERT INTO public.people (id, mail, ssn, tenant) VALUES (1, 'CANARY@here.example', 'CANARY-1', 1);
ALTER TABLE public.people ADD COLUMN added text DEFAULT 'CANARY';
CREATE TABLE public.visits (id int PRIMARY KEY, who text REFERENCES public.people (ssn), note text);
INSERT INTO public.visits VALUES (1, 'CANARY-1', 'n');
CREATE VIEW public.peeking AS SELECT app.peek() AS it;
CREATE VIEW public.telling_stats AS SELECT attname, most_common_vals::text AS vals FROM pg_stats;
CREATE VIEW public.telling_text AS SELECT query_to_xml('SELECT ssn FROM public.users', true, true, '') AS it;
CREATE MATERIALIZED VIEW public.telling_words AS SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', ssn) FROM public.users');
CREATE VIEW public.telling_nothing AS SELECT count(*) AS n, max(lower(t.table_name)) AS last, current_setting('work_mem') AS mem,
  now()::date AS day, '1'::int + 1.5::numeric AS sum FROM information_schema.tables t;
CREATE VIEW public.peeking2 AS SELECT it FROM public.peeking;
CREATE MATERIALIZED VIEW public.peeking_mat AS SELECT 1 AS one, app.peek() AS it;
CREATE TABLE public.boxes (id int PRIMARY KEY, one public.people, many public.people[]);
INSERT INTO public.boxes SELECT 1, p, ARRAY[p] FROM public.people p;
CREATE TYPE app.contact AS (phone text, name text);
CREATE DOMAIN app.contacts AS app.contact[];
CREATE TABLE public.cards (id int PRIMARY KEY, c app.contact, cs app.contacts);
INSERT INTO public.cards VALUES (1, ('CANARY', 'n'), ARRAY[('CANARY', 'n')::app.contact]);
CREATE TYPE app.cast_mood AS ENUM ('a', 'b');
CREATE FUNCTION app.mood_text(app.cast_mood) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM public.users LIMIT 1';
CREATE CAST (app.cast_mood AS text) WITH FUNCTION app.mood_text(app.cast_mood) AS IMPLICIT;
CREATE VIEW public.mood_view AS SELECT to_json('a'::app.cast_mood) AS j;
CREATE TABLE public.moods (id int, m app.cast_mood, ms app.cast_mood[]);
INSERT INTO public.moods VALUES (1, 'a', '{a}');
CREATE TABLE public.checked (id int PRIMARY KEY, t text CHECK (app.fine(t)));
CREATE TABLE public.indexed (id int PRIMARY KEY, t text);
CREATE INDEX ON public.indexed (app.fine(t));
CREATE TABLE public.guarded (id int PRIMARY KEY, t text);
CREATE POLICY p ON public.guarded USING (t <> (SELECT max(ssn) FROM public.users));
CREATE TABLE public.defaulted (id int PRIMARY KEY, t text DEFAULT app.peek());
CREATE DOMAIN app.fine_text AS text CHECK (app.fine(VALUE));
CREATE DOMAIN app.peeked AS text DEFAULT app.peek();
CREATE TABLE public.domain_default (id int PRIMARY KEY, t app.peeked);
CREATE TABLE public.set_default (id int PRIMARY KEY, to_id int DEFAULT length(app.peek()) REFERENCES public.checked (id) ON DELETE SET DEFAULT);
CREATE TABLE public.top (id int);
CREATE TABLE public.below (mail text) INHERITS (public.top);
CREATE VIEW public.made_of AS SELECT id, ssn FROM public.users;
CREATE MATERIALIZED VIEW public.made_of_it AS SELECT id FROM public.made_of;
CREATE VIEW public.plain_front AS SELECT 1 AS one;
CREATE VIEW public.plain_behind AS SELECT one FROM public.plain_front;
CREATE VIEW public.plain_alone AS SELECT 1 AS one;
CREATE TABLE public.domained (id int PRIMARY KEY, t app.fine_text);
CREATE TABLE public.keyed (id int PRIMARY KEY, person int REFERENCES public.people (id));
CREATE VIEW public.keyed_view AS SELECT id, person FROM public.keyed;
CREATE VIEW public.checked_view AS SELECT id, t FROM public.checked;
CREATE TABLE public.quiet (id int PRIMARY KEY, t text);
CREATE VIEW public.quiet_view AS SELECT id, t FROM public.quiet;
-- What the server checks on a write, over a masked column (`hid`) and others.
CREATE TABLE public.o_check (id int PRIMARY KEY, seen int, hid int, note text, CHECK (seen <= hid), CHECK (hid > 0));
CREATE TABLE public.o_gen (id int PRIMARY KEY, seen int, hid int, note text, g int GENERATED ALWAYS AS (seen * hid) STORED);
CREATE TABLE public.o_through (id int PRIMARY KEY, seen int, hid int, note text,
  g int GENERATED ALWAYS AS (seen + 1) STORED, CHECK (g <= hid));
CREATE TABLE public.o_index (id int PRIMARY KEY, seen int, hid int, note text);
CREATE INDEX ON public.o_index (note, (100 / (hid - seen)));
CREATE TABLE public.o_partial (id int PRIMARY KEY, seen int, hid int, note text);
CREATE INDEX ON public.o_partial (note) WHERE 100 / (hid - seen) > 0;
CREATE TABLE public.o_policy (id int PRIMARY KEY, seen int, hid int, note text);
CREATE POLICY p ON public.o_policy USING (true) WITH CHECK (seen <= hid);
CREATE TABLE public.o_other (id int PRIMARY KEY, seen int, note text);
CREATE POLICY p ON public.o_other USING (seen <= (SELECT max(hid) FROM public.o_check));
CREATE TABLE public.o_own (id int PRIMARY KEY, seen int, hid int, note text);
CREATE POLICY p ON public.o_own USING (hid <= (SELECT max(x.hid) FROM public.o_own x));
CREATE TABLE public.o_part (id int, seen int, hid text, note text) PARTITION BY LIST ((seen::text || '-' || hid));
CREATE TABLE public.o_part1 PARTITION OF public.o_part FOR VALUES IN ('1-CANARY');
CREATE TABLE public.o_keys (id int, seen int, hid int, note text) PARTITION BY RANGE (seen, hid);
CREATE TABLE public.o_whole (id int PRIMARY KEY, seen int, hid int, note text, CHECK (o_whole IS NOT NULL));
CREATE TABLE public.o_both (id int PRIMARY KEY, hid int, hid2 int, note text, CHECK (hid <= hid2));
CREATE TABLE public.o_none (id int PRIMARY KEY, seen int, hid int, note text, CHECK (seen <= id), CHECK (hid > 0));
CREATE TABLE public.o_rows (id int PRIMARY KEY, seen int, note text);
CREATE POLICY p ON public.o_rows USING (seen <= (SELECT count(*) FROM public.o_check x WHERE x IS NOT NULL));
CREATE TABLE public.o_calls (id int PRIMARY KEY, seen text, note text);
CREATE POLICY p ON public.o_calls USING (app.fine(seen));
CREATE VIEW public.o_view AS SELECT id AS a, seen AS b FROM public.o_other;
CREATE TABLE public.o_parent (id int PRIMARY KEY, code int UNIQUE, note text);
CREATE TABLE public.o_child (id int PRIMARY KEY, code int REFERENCES public.o_parent (code) ON UPDATE CASCADE ON DELETE SET NULL,
  hid int, CHECK (code <= hid));
-- An update of the key moves a row into a partition that asks more of the masked value, or less.
CREATE TABLE public.o_pu (id int, hid text, v int, note text) PARTITION BY LIST (v);
CREATE TABLE public.o_pu1 PARTITION OF public.o_pu FOR VALUES IN (1);
CREATE TABLE public.o_pu2 PARTITION OF public.o_pu FOR VALUES IN (2);
CREATE UNIQUE INDEX ON public.o_pu2 (hid);
CREATE TABLE public.o_pc (id int, hid text, v int, note text) PARTITION BY LIST (v);
CREATE TABLE public.o_pc1 PARTITION OF public.o_pc FOR VALUES IN (1);
CREATE TABLE public.o_pc2 PARTITION OF public.o_pc FOR VALUES IN (2);
ALTER TABLE public.o_pc2 ADD CHECK (hid LIKE 'CANARY%');
CREATE TABLE public.o_pn (id int, hid text, v int, note text) PARTITION BY RANGE ((v % 7));
CREATE TABLE public.o_pn1 PARTITION OF public.o_pn FOR VALUES FROM (0) TO (3);
CREATE TABLE public.o_pn2 PARTITION OF public.o_pn FOR VALUES FROM (3) TO (7);
ALTER TABLE public.o_pn2 ALTER COLUMN hid SET NOT NULL;
CREATE TABLE public.o_pf (id int, hid text, v int, note text) PARTITION BY LIST (v);
CREATE TABLE public.o_pf1 PARTITION OF public.o_pf FOR VALUES IN (1);
CREATE TABLE public.o_pf2 PARTITION OF public.o_pf FOR VALUES IN (2);
ALTER TABLE public.o_pf2 ADD FOREIGN KEY (hid) REFERENCES public.o_pu2 (hid);
CREATE TABLE public.o_free (id int, hid text, v int, note text) PARTITION BY LIST (v);
CREATE TABLE public.o_free1 PARTITION OF public.o_free FOR VALUES IN (1);
ALTER TABLE public.o_free1 ADD CHECK (id > 0);
-- In which partition a row is tells its masked value.
CREATE TABLE public.o_keyed (id int, hid text) PARTITION BY LIST (hid);
CREATE TABLE public.o_keyed_a PARTITION OF public.o_keyed FOR VALUES IN ('CANARY-a');
CREATE TABLE public.o_keyed_b PARTITION OF public.o_keyed DEFAULT PARTITION BY LIST (id);
CREATE TABLE public.o_keyed_b1 PARTITION OF public.o_keyed_b DEFAULT;
INSERT INTO public.o_keyed VALUES (1, 'CANARY-a'), (2, 'CANARY-b');
-- A partition that has no place for every masked value.
CREATE TABLE public.o_sub (id int, hid text, v int, note text) PARTITION BY LIST (v);
CREATE TABLE public.o_sub1 PARTITION OF public.o_sub FOR VALUES IN (1);
CREATE TABLE public.o_sub2 PARTITION OF public.o_sub FOR VALUES IN (2) PARTITION BY LIST (hid);
CREATE TABLE public.o_sub2a PARTITION OF public.o_sub2 FOR VALUES IN ('CANARY-a');
