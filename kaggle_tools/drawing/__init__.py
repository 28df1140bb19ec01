"""What is on the photos of the demo: invented cars, and the studio that photographs them."""
