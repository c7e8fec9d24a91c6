#!/bin/sh
# What the quick start needs of docker.io/library/postgres: a new database, made as the image would make it.
set -eu
export PATH=/usr/local/bin:/bin PGDATA="${PGDATA:-/var/lib/postgresql/data}/pgdata"
[ "${1:-}" = postgres ] || [ $# = 0 ] || exec "$@"
shift $(($# > 0 ? 1 : 0))
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256 --auth-local=trust \
        --encoding=UTF8 --locale=C >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    postgres -c listen_addresses= -c unix_socket_directories=/tmp &
    sql() { psql -qX -h /tmp -U postgres -v ON_ERROR_STOP=1 "$@"; }
    until sql -c 'SELECT 1' >/dev/null 2>&1; do sleep 0.2; done
    sql -c "CREATE DATABASE \"$POSTGRES_DB\""
    for file in /docker-entrypoint-initdb.d/*.sql; do sql -d "$POSTGRES_DB" -f "$file"; done
    kill $!
    wait
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
