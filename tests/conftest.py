from support import client, make_client, sample, server, shared_server, start_server

__all__ = ["client", "make_client", "sample", "server", "shared_server", "start_server"]
