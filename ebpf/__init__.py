"""The kernel border: compile, load, pin, attach, read and write. Knows no Kubernetes and no names."""
