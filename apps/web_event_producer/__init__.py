"""Visitors of a made-up shop: events at a steady rate, as JSON lines in log files that Flume tails."""
