"""What is to be told from the photos: the task's label, how to read it from data, and the words to speak of it."""
