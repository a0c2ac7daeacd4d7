"""`python -m whisper_npu_cli`."""

from whisper_npu_cli.cli.app import main

if __name__ == "__main__":
    main()
