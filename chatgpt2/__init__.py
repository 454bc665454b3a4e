"""From a Chinese dialogue corpus to a bot that talks."""

__version__ = "0.1.0"
