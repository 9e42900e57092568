"""User metadata of a source: the metadata column of the sample sheet.

Imports no format library, since the workflow reads the sheet whenever it plans its jobs.
"""
