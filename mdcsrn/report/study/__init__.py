"""Study of several methods over people, rotation angles and slices, as one page and a table beside it."""
