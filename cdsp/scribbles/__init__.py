"""Stage `scribbles`: strokes, their degradations, their labels and the classes they name."""
