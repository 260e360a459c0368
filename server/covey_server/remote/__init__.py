"""Models in an object store, mirrored into a folder of this machine that models/ watches like any other; and, for
`covey batch`, a bucket's objects. Knows neither models/ nor what a model is. fsspec and its backends are imported only
once a URL is given."""
