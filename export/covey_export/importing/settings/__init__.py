"""What is done to pixels and outputs: as the user says, as the source says, or assumed."""
