mv Dockerfile d/Other
tar -cf context.tar --owner=0 --group=0 ./d
