"""The package `modelbroker` is the folder `src/`: sub-packages are found, not listed."""

from setuptools import find_packages, setup

setup(
    package_dir={"modelbroker": "src"},
    packages=["modelbroker", *(f"modelbroker.{name}" for name in find_packages("src"))],
)
