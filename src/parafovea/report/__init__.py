"""Figures and self-contained HTML reports of samples and of the cohort."""
