"""Characters and names, and the numbers that stand for them: no torch here."""
