"""Stage `scribbles`: strokes, their degradations, the labels they draw and the classes they name."""
