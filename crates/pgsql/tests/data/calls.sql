-- What the statements of calls.txt are about.
CREATE TABLE public.deny_t (v text);
INSERT INTO public.deny_t VALUES ('secretword');
CREATE TABLE public.things (id int PRIMARY KEY, note text, tags text[]);
INSERT INTO public.things VALUES (1, 'one', '{a,b}'), (2, 'two', '{}');
CREATE TABLE public.wrote (id int);
CREATE DOMAIN public.uint AS int CHECK (VALUE >= 0);
CREATE FUNCTION public.ufn(public.things) RETURNS text LANGUAGE sql AS 'SELECT $1.note';
CREATE FUNCTION public.afn(anyelement) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION public.wfn(int) RETURNS int LANGUAGE sql AS 'INSERT INTO public.wrote VALUES ($1) RETURNING id';
CREATE FUNCTION public.pair_of(int) RETURNS public.things LANGUAGE sql AS 'SELECT * FROM public.things WHERE id = $1';
CREATE TYPE public.spot AS (x int, name text);
CREATE FUNCTION public.far(public.spot) RETURNS int LANGUAGE sql AS 'SELECT $1.x';
CREATE FUNCTION public.many(public.spot[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE public.boxed (id int, at public.spot, ats public.spot[], thing public.things, things public.things[]);
INSERT INTO public.boxed SELECT 1, ROW (3, 'three')::public.spot, ARRAY[ROW (4, 'four')::public.spot], t, ARRAY[t]
  FROM public.things t WHERE t.id = 1;
CREATE TABLE public.deep (id int, box public.boxed);
INSERT INTO public.deep SELECT 1, b FROM public.boxed b;
CREATE TABLE public.alone (id int);
CREATE FUNCTION public.rec(int) RETURNS record LANGUAGE sql AS 'SELECT $1, ''x''::text';
