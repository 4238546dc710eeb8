"""Making models: one loop, a recipe for each kind."""
