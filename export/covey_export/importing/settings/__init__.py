"""How pixels and outputs are treated: as the user says, as the source says, or assumed."""
