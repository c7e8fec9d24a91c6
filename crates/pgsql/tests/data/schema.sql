-- The tables of the tests. Every value that must stay hidden holds the word CANARY, or a year or number of its own.
CREATE SCHEMA app;
CREATE SCHEMA other;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN app.email AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE public.users (
  id serial PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL UNIQUE,
  ssn varchar(20),
  born date,
  salary numeric(12,2),
  tags text[],
  doc jsonb,
  mood app.mood DEFAULT 'ok',
  manager int REFERENCES public.users (id)
);
INSERT INTO public.users (name, email, ssn, born, salary, tags, doc, manager) VALUES
  ('ann', 'aCANARY1@example.com', 'CANARY-111-11', '1977-05-23', 777777.77, '{CANARY}', '{"k": "CANARY"}', NULL),
  ('bob', 'bCANARY2@example.com', 'CANARY-222-22', '1978-06-24', 777777.78, '{CANARY}', '{"k": "CANARY"}', 1),
  ('eve', 'eCANARY3@example.com', NULL, NULL, NULL, NULL, NULL, 1);
CREATE TABLE public.orders (id int PRIMARY KEY, user_id int NOT NULL REFERENCES public.users (id), total int NOT NULL, note text);
INSERT INTO public.orders VALUES (1, 1, 10, 'first'), (2, 1, 20, 'second'), (3, 2, 30, NULL);
CREATE TABLE public.plain (id int PRIMARY KEY, email text, name text, flag boolean, at timestamp);
INSERT INTO public.plain VALUES (1, 'open@example.com', 'plain', true, '2020-01-02'), (2, NULL, 'none', false, NULL);
CREATE TABLE app.events (id int NOT NULL, day date NOT NULL, secret text, open text) PARTITION BY RANGE (day);
CREATE TABLE app.events_2020 PARTITION OF app.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE app.events_2021 (open text, secret text, day date NOT NULL, id int NOT NULL);
ALTER TABLE app.events ATTACH PARTITION app.events_2021 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
INSERT INTO app.events VALUES (1, '2020-02-03', 'CANARYEVENT1', 'x'), (2, '2021-02-03', 'CANARYEVENT2', 'y');
CREATE TABLE public.base (id int, secret text);
CREATE TABLE public.child (extra text) INHERITS (public.base);
INSERT INTO public.base VALUES (1, 'CANARYBASE');
INSERT INTO public.child VALUES (2, 'CANARYCHILD', 'e');
CREATE TABLE other.users (id int, email text);
INSERT INTO other.users VALUES (1, 'other@example.com');
CREATE VIEW public.user_view AS SELECT id, email AS contact FROM public.users;
CREATE VIEW public.user_view2 AS SELECT * FROM public.user_view;
CREATE MATERIALIZED VIEW public.user_mat AS SELECT * FROM public.users;
CREATE VIEW public.plain_view AS SELECT id, name FROM public.plain;
CREATE FUNCTION public.leak(int) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT email FROM public.users WHERE id = $1';
CREATE FUNCTION public.lower(int) RETURNS text LANGUAGE sql AS 'SELECT email FROM public.users WHERE id = $1';
CREATE FUNCTION public.nickname(public.users) RETURNS text LANGUAGE sql AS 'SELECT $1.email';
CREATE FUNCTION app.op(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = app.op);
CREATE PROCEDURE app.work(int) LANGUAGE sql AS 'UPDATE public.plain SET flag = true WHERE id = $1';
CREATE SEQUENCE public.seq;
CREATE TABLE public."Odd ""Name" ("Col 1" int, "select" text);
INSERT INTO public."Odd ""Name" VALUES (1, 'CANARYODD');
CREATE TABLE app.ruled (id int);
CREATE RULE r AS ON INSERT TO app.ruled DO ALSO SELECT 1;
CREATE TABLE app.typed (
  id int PRIMARY KEY,
  a text NOT NULL, b varchar(12), c char(6), d name, e int NOT NULL, f bigint, g numeric(6,2) NOT NULL, h double precision,
  i boolean NOT NULL, j date NOT NULL, k timestamp(3), l timestamptz NOT NULL, m time, n interval NOT NULL, o uuid NOT NULL,
  p json NOT NULL, q jsonb, r bytea NOT NULL, s text[] NOT NULL, t int[], u inet NOT NULL, v app.mood, w app.email,
  x int4range NOT NULL, y date, z timestamptz, aa "char" NOT NULL, bb bit(3), cc money NOT NULL
);
INSERT INTO app.typed VALUES
  (1, 'CANARY@x.y', 'CANARYLONG12', 'CANARY', 'CANARY', 424242, 424242, 4242.42, 42.42, true, '1942-04-02', '1942-04-02 04:02:42.424',
   '1942-04-02 04:02:42+00', '04:02:42', '42 days', '42424242-4242-4242-4242-424242424242', '{"a":"CANARY"}', '"CANARY"', 'CANARY',
   '{CANARY}', '{424242}', '42.42.42.42', 'happy', 'CANARY@z.z', '[42,424242)', 'infinity', '-infinity', 'Q', '101', '42.42'),
  (2, '', NULL, NULL, NULL, 0, NULL, 0, NULL, false, '5874897-01-01', 'infinity', '4714-11-24 00:00:00+00 BC', NULL, '0',
   '00000000-0000-0000-0000-000000000000', 'null', NULL, '', '{}', NULL, '::1', NULL, NULL, 'empty', '4714-11-24 BC',
   '294276-12-31 23:59:59+00', '', NULL, '0');
ANALYZE;
