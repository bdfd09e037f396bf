{ echo FROM scratch; echo LABEL a=$(head -c 65540 /dev/zero | tr '\0' x); } > Dockerfile
