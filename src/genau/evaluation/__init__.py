"""Measure a detector on annotated data sets: plan, run, measure, write down."""
