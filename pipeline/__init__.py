"""From labelled rows to an adapter: data, basis, fine-tuning; the command line and the run."""

__version__ = "0.1.0"
