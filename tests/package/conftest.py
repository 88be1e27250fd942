"""Fixtures of the tests of this folder."""

from package.cython_calls import built, use  # noqa: F401
