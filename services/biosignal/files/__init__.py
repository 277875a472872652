"""Recorded files of biosignals: EDF, WFDB and CSV. Bytes in, signals out; no disk is touched."""
