pack() {
    tar --owner=0 --group=0 --numeric-owner "$@"
}
mkdir etc
ln -s /etc out
ln -s ../../etc up
pack -cf a.tar etc out up
rm -r etc out up
mkdir out up conf
echo passwd > out/passwd
echo group > up/group
echo shadow > conf/shadow
pack -rf a.tar out/passwd up/group conf/shadow
rm -r out up conf
