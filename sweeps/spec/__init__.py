"""What is asked for: points, sweeps and sweep files."""
