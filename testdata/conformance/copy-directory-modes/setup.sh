mkdir -m 0700 d
mkdir -m 0750 d/e
touch d/e/a
