"""Write and verify the record beside a result."""
