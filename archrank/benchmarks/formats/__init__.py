"""Readers: one module per published source, each giving a `GroundTruth`."""
