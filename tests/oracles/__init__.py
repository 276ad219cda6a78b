"""The programs that will read what the lab renders, asked here what they think of it."""
