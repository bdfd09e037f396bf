mkdir -p d/sub
touch a d/text d/program
chmod 755 d/program
