"""Stages: what moves, by which solver, until when."""
