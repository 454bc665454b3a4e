"""The databases that these tests run on."""

from __future__ import annotations

from fakes.databases import postgresql, postgresql_server, sqlite, url

__all__ = ["postgresql", "postgresql_server", "sqlite", "url"]
