"""The Studio: the service behind the page on which a person composes with a model on their own machine."""
