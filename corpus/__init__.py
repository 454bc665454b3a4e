"""The dialogues that come with chatgpt2; README.md tells the formats a corpus may have."""
