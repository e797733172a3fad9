"""Speed beside its targets, and the cost model beside published measurements. Run: python -m benchmarks"""
