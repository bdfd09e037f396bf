mkdir -p p/q/r
chmod 750 p/q
touch p/b.go p/q/a.txt p/q/c.go p/q/r/d.go
