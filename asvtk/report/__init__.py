"""What people read: RESULTS.md, plots, HTML."""
