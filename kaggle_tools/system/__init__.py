"""The machine: files, processes, hardware, memory, progress. Knows nothing of photos."""
