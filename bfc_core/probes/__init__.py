"""What is measured on features and weights of every layer: a pure function for each measure, and its deed.

Importing this room imports every file in it, which registers the deeds: a new probe is a word in `bfc_core/specs/probe.py`
and a file here. `bfc_core.measures` holds the torch-free measures of similarity.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
