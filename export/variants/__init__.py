"""Other precisions and forms of a graph."""
