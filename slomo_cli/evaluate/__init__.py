"""Evaluation: metrics, data sets and the report."""
