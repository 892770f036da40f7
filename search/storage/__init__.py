"""The queue of a study's trials, their failures and files, the looks at its rounds, and its test."""
