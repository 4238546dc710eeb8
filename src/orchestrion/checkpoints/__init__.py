"""Models on disk: folders of settings and weights, and the names they go by."""
