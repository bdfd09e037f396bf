chmod 755 docker-entrypoint.sh 10-listen.sh
