"""How results came about: the files that record it, as plain values with their JSON.

The keys have the same order in all versions; what older versions did not record is None or empty.
"""
