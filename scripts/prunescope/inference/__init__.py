"""What measurements on a sample of items say about all items: differences, intervals, p-values."""
