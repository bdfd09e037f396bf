tar -czf context.tar.gz --owner=1000 --group=1000 d Dockerfile
