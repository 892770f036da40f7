"""The small files of trials in the database, for machines that share no folder; see search/__init__.py."""
