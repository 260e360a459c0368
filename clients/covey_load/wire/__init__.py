"""The wire: cheap hand-written connections for load generators. No threads, no libraries, and nothing blocks once
connected."""
