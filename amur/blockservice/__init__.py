"""What answers other regions: their questions, and bytes that lie here. Nothing of S3."""
