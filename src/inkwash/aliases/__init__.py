"""Modules that go on working under the names they had before `inkwash COMMAND`, for one release.

The folder is a second place where Python looks for modules of `inkwash` (see inkwash/__init__.py).
"""
