"""More speech out of given speech."""
