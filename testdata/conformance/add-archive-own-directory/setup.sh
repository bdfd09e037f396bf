mkdir d
echo a > d/a
chmod 0644 d/a
chmod 0750 d
tar --owner=1000 --group=1001 --numeric-owner -C d -cf a.tar .
rm -r d
