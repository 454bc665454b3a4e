"""`python -m chatgpt2`, which is what torchrun starts."""

from chatgpt2.cli import main

if __name__ == "__main__":
    main()
