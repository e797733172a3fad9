"""Where a command may stand: scripts, Kubernetes manifests, compose files, Dockerfiles."""
