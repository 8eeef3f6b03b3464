"""Portable forms of the backend's primitives."""
