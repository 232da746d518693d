"""The processes of a job, and how errors and signals travel between them. torch only in elastic.py and heartbeat.py.

    command (commands/)                   no torch; start.py, lives until the job has ended
      +- elastic.py                       one on this machine, in a session of its own: torch's elastic launcher
           +- rank.py                     one for each device; calls a function of jobs/ with the job's directory
                +- workers                of data loaders

A job with one process on this machine does without elastic.py: importing torch's launcher takes two seconds. Each rank
imports Lightning by quick_imports.py, without the two thirds of it that no job needs. A training on a CPU keeps the
memory that its tensors have freed (memory.py).

Under torchrun, srun, mpirun, Kubeflow or AzureML, on one or several machines, these start the command once for each
rank. It composes and checks as always, and start.py starts a single rank.py in place (environment.py reads torchrun's
and SLURM's variables, variables.py those of the others and of people who set RANK and WORLD_SIZE themselves). Then
heartbeat.py has the ranks wait for each other, and notices within about 30 s when a machine is gone.

Down: a signal (SIGINT, SIGTERM, SIGUSR1, SIGUSR2) to the command is passed to its child, and by that to the ranks,
which finish the step, save and exit with 128 + n. A process whose parent dies gets SIGTERM from the kernel
(signals.py). After GRACE_SECONDS the command kills what is left.

Up: a rank that fails writes error-rank-N.txt and exits with 1 (report.py). The parent prints the report that was first,
since the others only say that a rank is gone, and writes error.txt, which the command puts into status.json.

Read first: start.py, then rank.py.
"""
