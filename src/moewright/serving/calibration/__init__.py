"""What benchmarks measured, set beside what is predicted, and the factors that draw one to the other."""
