"""What is on the photos of a demo: cars and the studio that photographs them; layers of rock, and salt in them."""
