mkdir -p sub/d
touch sub/a
chmod 640 sub/a
chmod 700 sub/d
chown -R 1000:1000 sub
