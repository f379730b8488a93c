"""Figures of tables and runs: one module for each, named by `cdsp.reporting.settings.FIGURES`."""
