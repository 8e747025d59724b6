"""The parts of the app: what it offers, how a request is read, and its tasks; all inference is mdcsrn's own."""
