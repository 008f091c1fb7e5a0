"""Text kernels: words, lines and n-grams of many texts at once, compiled; what the text filters are computed from."""
