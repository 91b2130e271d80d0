"""Beam on Flink: scripts for a cluster, and a cluster on one machine for tests and benchmarks."""
