"""The best layout and concurrency of a serving workload."""
