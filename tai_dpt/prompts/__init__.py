"""Context vectors and class names to class embeddings: the only thing that is learned."""
