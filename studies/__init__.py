"""The studies that come with the project, one question each; search.study has the vocabulary."""
