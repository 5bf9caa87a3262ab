"""Files for other programs: DICOM, QuAAC, CSV and JSON. Reads results, measures nothing."""
