# The two ends of an enclosure; enclosure.rs says what it is for.
#
# usage: sh -c SCRIPT kiln-bench outside DIRECTORY PROGRAM ARGUMENT...
# The same text is in ENCLOSURE, for the shell inside.
set -eu
side=$1
directory=$2
shift 2

make_groups() {
    while read -r _ group; do
        mkdir "$group"
        # A v1 cpuset takes no process before it has CPUs and memory.
        for file in cpuset.cpus cpuset.mems; do
            if [ -e "$group/cgroup.clone_children" ] && [ -e "$group/$file" ]; then
                cat "$group/../$file" >"$group/$file"
            fi
        done
    done <"$directory/groups"
}

join_groups() {
    while read -r _ group; do
        # 0 is the process that writes.
        echo 0 >"$group/cgroup.procs"
    done <"$directory/groups"
}

# The kernel takes a moment to end what was killed, and a group goes only when it is empty.
remove_groups() {
    while read -r _ group; do
        tries=0
        while [ -d "$group" ] && [ "$tries" -lt 100 ]; do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
            tries=$((tries + 1))
        done
    done <"$directory/groups"
}

# Lets every hierarchy begin at our group, as a container's would.
show_own_groups_only() {
    mkdir "$directory/group"
    while read -r mount_point group; do
        mount --bind "$group" "$directory/group"
        umount --lazy "$mount_point"
        mount --move "$directory/group" "$mount_point"
        if [ -e "$mount_point/cgroup.subtree_control" ]; then
            # v2 gives controllers to children only of groups without processes.
            mkdir "$mount_point/harness"
            echo 0 >"$mount_point/harness/cgroup.procs"
            for controller in $(cat "$mount_point/cgroup.controllers"); do
                echo "+$controller" >"$mount_point/cgroup.subtree_control" || true
            done
        fi
    done <"$directory/groups"
}

case $side in
outside)
    child=
    end() {
        [ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true
    }
    clean() {
        # Whoever asks for the end twice gets the rest of the cleaning all the same.
        trap '' INT TERM HUP
        end
        remove_groups
        rm -rf -- "$directory"
    }
    trap clean EXIT
    trap end INT TERM HUP
    make_groups
    (
        trap - EXIT
        join_groups
        exec setpriv --pdeathsig KILL \
            unshare --cgroup --mount --pid --fork --kill-child --mount-proc \
            sh -c "$ENCLOSURE" kiln-bench inside "$directory" "$@"
    ) &
    child=$!
    status=0
    wait "$child" || status=$?
    # A signal ends the first wait early.
    wait "$child" 2>/dev/null || true
    child=
    exit "$status"
    ;;
inside)
    show_own_groups_only
    unset ENCLOSURE
    # Not exec: as the first process of its namespace, the shell collects orphans.
    status=0
    "$@" || status=$?
    exit "$status"
    ;;
esac
