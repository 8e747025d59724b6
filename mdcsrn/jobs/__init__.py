"""Take one scan from its file to the restored files: outputs checked first, work, writing, what is said of it."""
