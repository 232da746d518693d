"""Helper modules of the tests. tests/ is on the path, so `from support.runs import write_run` works everywhere.

runs            configurations and run directories, and the environment of subprocesses
commands        the commands as subprocesses; in_process: in this process
parts           callbacks and data sources that tests put into configurations: `_target_: support.parts.Witness`
faults          the same, for those that end a run, fill its disk or spoil its numbers
schedules       every noise schedule; analytic: exact denoisers of Gaussians and mixtures; samplers: conf/sampler
autoencoders    small autoencoders of diffusers, and one that is exactly known
networks        small networks with known outputs, and the random numbers of a loss
extractors      a small feature extractor, ours and torch-fidelity's
fork_server     forks commands from a process that has imported everything; job_server forks training jobs
fast_jobs       a sweep's command whose jobs take no time; rank_config: a job whose rank 1 reads another configuration
run_diff        bit-by-bit comparison of two run directories
bad_inputs      over 1,000 command lines, configurations and files that must be refused
locks           another process that holds the lock of a run
counts          numbers that the robustness tests print at the end
cluster         network namespaces as machines, and a SLURM
wandb_server    a stand-in for W&B's server; wandb_panels: the names in a workspace's panels
mutants         the mathematics broken in every small way, and whether the tests notice: `make mutants`

`INKWASH_TRUST=support` lets configurations name the classes in here.
"""
