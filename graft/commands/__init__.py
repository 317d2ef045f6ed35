"""The subcommands of `graft`, beside the pipeline."""
