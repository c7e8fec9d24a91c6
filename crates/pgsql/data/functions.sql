-- How functions.txt is made: run by psql -At on each supported major version, merged, and the difference reviewed. A line
-- is a name, and the first major version that has it if that is not 14. A name that one version has in another form
-- than a harmless one is in for none. tests/functions.rs compares the file with the server at hand.
-- A name is harmless if every one of its overloads in pg_catalog is harmless: immutable, an aggregate or a window function,
-- without arguments or results of internal, cstring, trigger, handler or reg* types. By-name lists need "every": the
-- immutable ts_rewrite(tsquery, tsquery, tsquery) has a sister that runs SQL text.
SELECT p.proname
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace
GROUP BY p.proname
HAVING bool_and(
    (p.provolatile = 'i' OR p.prokind IN ('a', 'w'))
    AND p.prokind <> 'p'
    AND NOT p.prorettype = ANY ('{internal,cstring,trigger,event_trigger,language_handler,fdw_handler,index_am_handler,tsm_handler,table_am_handler,void}'::regtype[])
    AND NOT p.proargtypes::oid[] && '{internal,cstring,regproc,regprocedure,regoper,regoperator,regclass,regtype,regconfig,regdictionary,regnamespace,regrole,regcollation,pg_ddl_command}'::regtype[]::oid[])
   AND p.proname !~ '^(pg_|binary_upgrade|satisfies_hash_partition|ri_|has_)'
ORDER BY p.proname COLLATE "C";
