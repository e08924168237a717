"""Every command: its name, where it is, and its line in `svfit --help`. Nothing here imports a command."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("pipeline.cli.commands.run:run", "Rows in, checked ONNX bundle and report out."),
    "init": ("pipeline.cli.commands.init:init", "Write a commented configuration with every default."),
    "finetune": ("pipeline.cli.commands.stages:finetune", "Train an adapter on the rows."),
    "merge": ("pipeline.cli.commands.stages:merge", "Fold the adapter into the weights."),
    "export": ("pipeline.cli.commands.stages:export", "Write the ONNX graph and check its parity."),
    "swap": ("pipeline.cli.commands.stages:swap", "Build the graph that many adapters share."),
    "quantize": ("pipeline.cli.commands.stages:quantize", "Make the int8 variant and check its accuracy."),
    "bundle": ("pipeline.cli.commands.stages:bundle", "Pack what a device takes."),
    "report": ("pipeline.cli.commands.stages:report", "Write report.json and report.html."),
    "verify": ("pipeline.cli.commands.verify:verify", "Recheck a bundle: hashes, loading, stored answers."),
    "predict": ("pipeline.cli.commands.predict:predict", "Answer from a bundle."),
    "serve": ("pipeline.cli.commands.serve:serve", "Answer over HTTP: adapters come and go without a restart."),
    "pack": ("pipeline.cli.commands.pack:pack", "Put a bundle in one file, signed on request."),
    "unpack": ("pipeline.cli.commands.unpack:unpack", "Make a bundle's folder of an archive, checked."),
    "keys": ("pipeline.cli.commands.keys:keys", "Keys that bundles are signed and trusted by."),
    "push": ("pipeline.cli.commands.push:push", "Deliver a bundle to a running server, only what it lacks."),
    "pull": ("pipeline.cli.commands.pull:pull", "Fetch the bundle that a server answers with."),
    "rollback": ("pipeline.cli.commands.rollback:rollback", "Make a server answer with the release before."),
    "releases": ("pipeline.cli.commands.releases:releases", "List the releases that a server has."),
    "tune": ("pipeline.cli.commands.tune:tune", "Find the best variant and settings for this machine."),
    "update": ("pipeline.cli.commands.update:update", "A new version of an adapter from new rows."),
    "compare": ("pipeline.cli.commands.compare:compare", "Methods side by side: cost, accuracy, and which to use."),
    "inspect": ("pipeline.cli.commands.inspect:inspect", "Show the spectrum of a model or an adapter."),
    "adapter": ("pipeline.cli.commands.adapter:adapter", "A bundle's adapters: add, list, roll back; to LoRA."),
    "doctor": ("pipeline.cli.commands.doctor:doctor", "Say what this machine can do and what is missing."),
}
