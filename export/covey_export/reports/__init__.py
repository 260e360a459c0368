"""What is said while working (progress), and what is written beside a published model: report.html, MODEL_CARD.md,
report.json; two models compared."""
