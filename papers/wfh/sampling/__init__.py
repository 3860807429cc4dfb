"""Words, masking, and samples of pre-training and of downstream tasks."""
