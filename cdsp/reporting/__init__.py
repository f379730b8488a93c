"""Stage `reporting`: tables and figures from the metrics of many runs."""
