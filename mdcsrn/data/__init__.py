"""Data: datalists with subject-level splits, HCP, the embedded sample, and detection of an empty outer band."""
