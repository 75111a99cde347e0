"""Stands for the commands of Slurm and Grid Engine: records each command line and really runs the scripts.

Installed under the names of the commands in a folder ``bin``; beside it, ``calls`` gets a line for each
call and ``states`` one for each job. sbatch and qsub refuse options that the manuals do not list, and run
all jobs before they answer, one after the other, so that squeue and qstat find nothing but ended ones.
The file ``refuse`` has the trial run before a submission refused, ``limits`` gives the site's limits.
"""

import os
import re
import subprocess
import sys

NAME = os.path.basename(sys.argv[0])
FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))

# Options and how many words follow them, from the manual pages sbatch(1) and qsub(1).
SBATCH = {"--requeue": 0, "--parsable": 0, "--test-only": 0, "--ntasks-per-node": 1, "--cpus-per-task": 1}
SBATCH |= dict.fromkeys(("--mem", "--mem-per-cpu", "--time", "--partition", "--account", "--gres"), 1)
SBATCH |= dict.fromkeys(("--array", "--output", "--job-name", "--dependency", "--open-mode", "--export"), 1)
SBATCH |= dict.fromkeys(("-p", "-A", "-C", "-N", "-q", "-w"), 1)
QSUB = {"-V": 0, "-cwd": 0, "-terse": 0, "-pe": 2}
QSUB |= dict.fromkeys(("-S", "-j", "-r", "-l", "-q", "-N", "-o", "-t", "-tc", "-hold_jid", "-w", "-P"), 1)


def path(name):
    return os.path.join(FOLDER, name)


def read(name):
    return open(path(name)).read() if os.path.exists(path(name)) else ""


def parse(words, known):
    """(options, script); exits with an error for what the manual does not list."""
    options = {}
    while words and words[0].startswith("-"):
        option, equals, value = words.pop(0).partition("=")
        if option not in known:
            sys.exit(f"{NAME}: unrecognized option '{option}'")
        if equals:
            options[option] = value
        else:
            values = [words.pop(0) for _ in range(known[option])]
            options[option] = " ".join(values)
    if len(words) != 1:
        sys.exit(f"{NAME}: expected one script, found {words}")
    return options, words[0]


def run(script, output, environment):
    with open(output, "ab") as stream:
        return subprocess.run(
            ["bash", script], stdout=stream, stderr=stream, env={**os.environ, **environment}
        ).returncode


def next_id():
    identity = 1 + len(set(re.findall(r"^(\d+)", read("states"), re.M)))
    return str(identity)


def sbatch(words):
    options, script = parse(words, SBATCH)
    if "--test-only" in options:
        sys.exit(f"allocation failure: {read('refuse')}" if read("refuse") else 0)
    array = options.get("--array")
    if array and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*(%[1-9]\d*)?", array):
        sys.exit("sbatch: error: Invalid --array specification")
    identity = next_id()
    for index in expand(array.partition("%")[0]) if array else [None]:
        variables = {"SLURM_JOB_ID": identity} | (
            {} if index is None else {"SLURM_ARRAY_TASK_ID": str(index)}
        )
        status = run(script, options["--output"], variables)
        with open(path("states"), "a") as stream:
            word = "FAILED" if status else "COMPLETED"
            stream.write(f"{identity}|{'N/A' if index is None else index}|{word}|node1|None\n")
    print(identity)


def qsub(words):
    options, script = parse(words, QSUB)
    if "-w" in options:
        if refusal := read("refuse"):
            sys.exit(f"Unable to run job: {refusal}\nverification: no suitable queues\nExiting.")
        print("verification: found suitable queue(s)")
        return
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", options["-N"]):
        sys.exit(f'Unable to run job: denied: "{options["-N"]}" is not a valid object name.')
    array = options.get("-t")
    if array and not re.fullmatch(r"[1-9]\d*(-\d+(:\d+)?)?", array):
        sys.exit(f'ERROR! Wrong "-t" option "{array}"')
    identity = next_id()
    for index in expand(array) if array else ["undefined"]:
        run(script, options["-o"], {"JOB_ID": identity, "SGE_TASK_ID": str(index)})
    with open(path("states"), "a") as stream:
        stream.write(f"{identity}\n")
    print(f"{identity}.{array}:1" if array else identity)


def expand(text):
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def main():
    with open(path("calls"), "a") as stream:
        stream.write("\t".join([NAME, *sys.argv[1:]]) + "\n")
    if NAME == "sbatch":
        sbatch(sys.argv[1:])
    elif NAME == "qsub":
        qsub(sys.argv[1:])
    elif NAME == "squeue":
        print(read("states"), end="")
    elif NAME == "scontrol":
        print(read("limits") or "MaxArraySize            = 1001")
    elif NAME == "qconf":
        print(read("limits") or "max_aj_tasks                 75000")
    elif NAME == "qstat":
        print("<?xml version='1.0'?><job_info><queue_info/><job_info/></job_info>")


main()
