"""Generated code of package covey.v1; `make proto` makes it from classifier.proto."""
