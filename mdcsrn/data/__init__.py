"""Data: datalists with subject-level splits, HCP, the embedded sample, and whether a scan's outer band is real."""
