echo a file that no other case has > a
touch -d @1000000000 a
