mv Dockerfile input
