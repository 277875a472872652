"""Several modalities as one."""
