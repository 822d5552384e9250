"""Other systems' ways to say the same: each dialect is a pure pair, parse and render, over the one record."""
