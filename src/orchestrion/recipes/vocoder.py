"""The WORLD vocoder, imported without the warning of its own package about setuptools."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import pyworld

__all__ = ["pyworld"]
