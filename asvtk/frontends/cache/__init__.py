"""The feature cache: its store on disk, the extraction that fills it, and what checks, prunes and imports."""
