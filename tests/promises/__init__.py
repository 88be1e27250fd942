"""Tests that run on the record of every operator."""
