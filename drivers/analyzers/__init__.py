"""Network analyzers, one file per command language."""
