"""The tests, which mirror src/inkwash: tests/PACKAGE/test_MODULE.py. Helper modules are in tests/support."""
