"""Assets: trains the small weights that come along (`make assets`), from synthetic scenes alone."""
