mkdir d
echo old > a
echo older > d/b
touch -d @1700000000.123456789 a
touch -d @0 d/b
