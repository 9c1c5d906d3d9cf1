"""What the book's pages need beside the library: texts, judges, plans, tables, plots, sliders, checks."""
