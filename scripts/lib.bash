# Shared by the scripts beside this file; to be sourced, not run.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# Programs such as mmdebstrap's helpers live where an ordinary user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

heading() {
    printf '\n\033[1m== %s\033[0m\n' "$*"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Prints a TCP port of the loopback interface that nobody listens on.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no free port found on the loopback interface"
}

# start_registry DIRECTORY: starts Debian's docker-registry with its storage, settings and
# log in DIRECTORY. Sets `registry` to its host:port and `registry_pid` for stop_registry.
start_registry() {
    local directory=$1 port
    mkdir -p "$directory/storage"
    for _ in 1 2 3 4 5; do
        port=$(free_port)
        cat >"$directory/registry.yml" <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $directory/storage}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YAML
        docker-registry serve "$directory/registry.yml" >"$directory/registry.log" 2>&1 &
        registry_pid=$!
        # Somebody else may take the port first; then our registry ends at once.
        while kill -0 "$registry_pid" 2>/dev/null; do
            if curl --silent --fail --noproxy '*' "http://127.0.0.1:$port/v2/" >/dev/null &&
                kill -0 "$registry_pid" 2>/dev/null; then
                registry=127.0.0.1:$port
                return
            fi
            sleep 0.05
        done
    done
    cat "$directory/registry.log" >&2
    die "docker-registry does not start"
}

stop_registry() {
    [ -n "${registry_pid:-}" ] || return 0
    kill "$registry_pid" 2>/dev/null || true
    wait "$registry_pid" 2>/dev/null || true
    registry_pid=
}

# write_registries_conf FILE REGISTRY: lets names without a host (`FROM node`) mean REGISTRY,
# in the format of containers-registries.conf(5).
write_registries_conf() {
    cat >"$1" <<TOML
[[registry]]
prefix = "docker.io"
location = "$2"
insecure = true

[[registry]]
location = "$2"
insecure = true
TOML
}

# remove_state DIRECTORY: what an ordinary user's builds leave belongs to ids that only
# its user namespace may delete.
remove_state() {
    rm -rf -- "$1" 2>/dev/null && return
    unshare --user --map-root-user --map-auto rm -rf -- "$1"
}
