"""HTTP: OpenAI-compatible routes over releases and base models, feedback, metrics."""
