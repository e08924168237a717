"""Other precisions and forms of a graph, each made once from the folded float32 weights."""
