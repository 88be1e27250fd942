"""``python setup.py build_ext --inplace`` builds the detector; Cython finds roicy where it is installed."""

from Cython.Build import cythonize
from setuptools import setup

setup(name="detector", ext_modules=cythonize("detector.pyx", language_level=3))
