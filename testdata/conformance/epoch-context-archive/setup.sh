mkdir d
echo old > d/old
echo new > new
touch -d @1500000000 Dockerfile d/old
touch -d @1600000000 new
touch -d @1700000000 d
tar -cf context.tar Dockerfile d new
