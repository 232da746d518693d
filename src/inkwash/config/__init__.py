"""Compose a configuration from a command line, check it, and make objects of its nodes. Used in every process, without
torch.

The way of a command line:

    sys.argv -> cli.run             refuses secrets, old names, bytes that are not UTF-8, settings of Hydra's own
             -> Hydra               composes conf/COMMAND.yaml with the overrides; schema.py closes the top level
             -> hydra_settings      checks the node `hydra` before Hydra makes anything of it
             -> validate.check      every value there, of the right type, from a trusted target: before any torch import
             -> a file              config.yaml, sample.yaml or evaluate.yaml, resolved (runs/config_file.py)
             -> config_file.load    in each rank: today's names, the same check of trust and arguments
             -> instantiate.build   a node (a `_target_` and its constructor's arguments) becomes an object

A node is checked once, where it comes in; `build` trusts what it is given. An error is one sentence with the key.

Read first: cli.py, then validate.py. A node's arguments are compared with the constructor's signature by parsing its
source (signatures.py, annotations.py). What a configuration may call is decided in trust.py: classes of ours, functions
that conf/ names, optimizers and modules of torch, callbacks of Lightning, and the user's own packages: those that
INKWASH_TRUST names, or an inkwash.yaml in a folder of INKWASH_CONF (own_folders.py).
class_attributes.py reads an attribute of a class from its source. quotes.py puts quotes around paths and names.
suggest.py finds "did you mean"; renames.py maps names of older versions to today's; secrets.py finds API keys; paths.py
finds conf/; home.py names a home where there is none; trainer_options.py has the table of Lightning's arguments,
packages.py that of what loggers need; help.py makes the page of --help.

A new command: a dataclass in schema.py, conf/COMMAND.yaml, a module in commands/, a line in __main__.py.
A class that moves: its old name in renames.py, so that the config.yaml of older runs goes on working.
"""
