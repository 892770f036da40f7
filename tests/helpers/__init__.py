"""What the tests are made with: plain functions and constants."""
