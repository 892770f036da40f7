"""A team of models that is trained again and judged as one; see search/__init__.py."""
