"""The contract of Covey: messages, services and the metadata of a model file. Imports nothing else of Covey's."""

__version__ = "0.1.0"
