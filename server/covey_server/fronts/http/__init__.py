"""The HTTP front: HTTP/1.1 by llhttp (httptools), with or without TLS, on a port of its own."""
