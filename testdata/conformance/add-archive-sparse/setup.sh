pack() {
    truncate -s 300000 "$1"
    printf data | dd of="$1" bs=1 seek=200000 conv=notrunc 2> /dev/null
    chmod 0644 "$1"
    tar --owner=0 --group=0 --numeric-owner --sparse --hole-detection=raw -cf "$1.tar" "$@"
    rm "$1"
}
pack 0.0 --format=posix --sparse-version=0.0
pack 0.1 --format=posix --sparse-version=0.1
pack 1.0 --format=posix --sparse-version=1.0
