"""Generated code of package inference; `make proto` makes it from open_inference.proto. Never import it into a process
that has tritonclient: a package can be registered once per process."""
