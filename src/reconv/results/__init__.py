"""What a compression gives: the result, its figures, and what a report says of them."""
