"""Cases: their tables and life cycle, computation, uploads, results, erasure."""
