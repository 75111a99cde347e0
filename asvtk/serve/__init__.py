"""`asvtk serve`: detection over HTTP and WebSocket, and a page for people (extra ``[serve]``)."""
