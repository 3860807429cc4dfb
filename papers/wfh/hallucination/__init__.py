"""The visual vocabulary, the hallucinator, and pictures of both."""
