"""Media: safe reading, probing and decoding of encoded pictures and clips; sizes come from headers before any pixel."""
