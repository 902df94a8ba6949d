"""A learned recogniser put to use: fitting it, its folder, its batches, its export."""
