"""A strictly serializable document database of three or five members."""
