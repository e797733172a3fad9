"""What the user gives: model, cluster, workload, strategy. No computation beyond what they say."""
