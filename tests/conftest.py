"""Fixtures of the tests that need Python alone."""

from support import sample, server, shared_server, start_server

__all__ = ["sample", "server", "shared_server", "start_server"]
