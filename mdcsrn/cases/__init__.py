"""One case from scan to files: what the command line, the MONAI Label app and the Deploy app share."""
