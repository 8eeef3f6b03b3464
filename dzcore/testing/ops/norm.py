"""Normalization and embedding."""
