"""The packages of the wheel. All other metadata is in setup.cfg.

The scripts and the configs get names in the wheel that no other project has, see `nlstm_jax.installation`.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "nlstm_experiments": "experiments",
    "nlstm_jax.configs": "configs",
    "nlstm_jax.configs.sweeps": "configs/sweeps",
    "nlstm_jax.configs.sweeps.suite_v1": "configs/sweeps/suite_v1",
}
"""The folders of the packages that have another name here than in the wheel."""

setup(packages=[*find_packages(include=["nlstm_jax", "nlstm_jax.*"]), *FOLDERS], package_dir=FOLDERS)
