mkdir -p d/empty
chmod 700 d/empty
touch d/program d/secret
chmod 4755 d/program
chmod 600 d/secret
