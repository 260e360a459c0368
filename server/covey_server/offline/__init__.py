"""`covey batch`: classifies the images of an archive without a server, by the server's own decoder and engine."""
