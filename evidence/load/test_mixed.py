"""A short form of ``mixed.py``."""

from .mixed import Load, table


def test_sixteen_clients_get_no_error_and_memory_stays_flat(start_server):
    server = start_server()
    load = Load(server).run(5)
    print(table(load, 5))
    assert load.errors == []
    assert {"upload", "latest", "read", "restore", "list", "health"} <= load.latencies.keys()
    assert sum(map(len, load.latencies.values())) > 250
    assert load.growth() < 16
    assert max(load.memory) < 150
