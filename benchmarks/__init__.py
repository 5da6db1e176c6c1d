"""`python -m benchmarks`: Procdeck beside supervisord and Circus, in the same run on the same work."""
