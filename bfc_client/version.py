"""The installed version of the lab's distribution."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("bfc-lab")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.0.0"

AGENT = f"bfc-client/{__version__}"
