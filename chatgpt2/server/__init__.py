"""The HTTP service: an OpenAI-compatible API over a ChatService."""
