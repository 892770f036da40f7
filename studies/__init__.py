"""The studies that come with the project, a question a file; see search.study for their words."""
