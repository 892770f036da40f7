"""What to try next, when to stop a trial, when a study has had enough, and who is confirmed."""
