mkdir -p BOOT/lib BOOT/classes
echo dep > BOOT/lib/dep.jar
echo main > BOOT/classes/Main.class
tar --owner=0 --group=0 -cf app.tar BOOT
rm -r BOOT
