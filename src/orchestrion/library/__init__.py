"""Songs on disk: what was asked, what was made of it, and how it looks."""
