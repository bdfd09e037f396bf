mkdir -m 750 d
touch run.sh d/private
chmod 755 run.sh
chmod 600 d/private
chown -R 1000:1000 .
