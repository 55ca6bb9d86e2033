"""How fast meshapi_rt is beside its peers: ``python -m benchmarks``. See README.md."""
