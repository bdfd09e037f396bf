mkdir sub
mv Some.file Some.file.dockerignore sub
