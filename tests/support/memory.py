"""The greatest memory of a child process, as the code that it runs measures it itself."""

# KiB. Not getrusage's ru_maxrss: a process begins with that of its parent, as it was when it was started.
PEAK = "int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
