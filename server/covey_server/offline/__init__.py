"""`covey batch`: the images of an archive classified without a server, by the server's own decoder and engine."""
