"""What pyproject.toml cannot say: the folder conf, at the top level, is installed as adamms.conf."""

from setuptools import find_namespace_packages, find_packages, setup

groups = [f"adamms.conf.{group}" for group in find_namespace_packages("conf")]
setup(
    packages=[*find_packages(include=["adamms*"]), "adamms.conf", *groups],
    package_dir={"adamms.conf": "conf"},
)
