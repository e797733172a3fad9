"""What the user gave: model, cluster, workload, strategy."""
