"""Environment variables that carry settings between the start script, the server and the app."""

TOKEN_FILE = "MDCSRN_LABEL_TOKEN_FILE"  # holds the token that every request must bear
ORIGINS = "MDCSRN_LABEL_ORIGINS"  # web pages that may ask, parted by commas
TEMPORARY = "MDCSRN_LABEL_TEMPORARY"  # the server's own temporary folder, made at its start
