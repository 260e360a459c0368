"""What the operating system gives this process: memory, files, threads, signals, standard output."""
