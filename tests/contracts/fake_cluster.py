"""Stands for the commands of Slurm and Grid Engine: records each command line and really runs the scripts.

Installed under the names of the commands in a folder ``bin``; beside it, ``calls`` gets a line for each
call and ``states`` one for each job. sbatch and qsub refuse options that the manuals do not list, and run
all jobs before they answer, one after the other, so that squeue and qstat find nothing but ended ones.
The file ``refuse`` has the trial run before a submission refused, ``limits`` gives the site's limits.
``banner`` is what stands around the id, on stdout and after a NUL on stderr; with ``mute`` no id is printed,
with ``late`` none in time, with ``lost`` nothing is submitted and no id printed.
"""

import os
import re
import subprocess
import sys
import time

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
    lost()
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
    answer(identity, options["--job-name"])


def answer(printed, name):
    identity = re.match(r"\d+", printed)[0]
    with open(path("names"), "a") as stream:
        stream.write(f"{identity} {name}\n")
    out, _, err = (read("banner") or f"{printed}\n").partition("\0")
    if os.path.exists(path("mute")):
        out = "Welcome\n"
    if os.path.exists(path("late")):
        time.sleep(3)
    print(re.sub(r"\bid\b", identity, out), end="")
    print(re.sub(r"\bid\b", identity, err), end="", file=sys.stderr)


def lost():
    if os.path.exists(path("lost")):
        print("Welcome")
        sys.exit()


def qsub(words):
    options, script = parse(words, QSUB)
    if "-w" in options:
        if refusal := read("refuse"):
            sys.exit(f"Unable to run job: {refusal}\nverification: no suitable queues\nExiting.")
        print("verification: found suitable queue(s)")
        return
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", options["-N"]):
        sys.exit(f'Unable to run job: denied: "{options["-N"]}" is not a valid object name.')
    lost()
    array = options.get("-t")
    if array and not re.fullmatch(r"[1-9]\d*(-\d+(:\d+)?)?", array):
        sys.exit(f'ERROR! Wrong "-t" option "{array}"')
    identity = next_id()
    for index in expand(array) if array else ["undefined"]:
        run(script, options["-o"], {"JOB_ID": identity, "SGE_TASK_ID": str(index)})
    with open(path("states"), "a") as stream:
        stream.write(f"{identity}\n")
    answer(f"{identity}.{array}:1" if array else identity, options["-N"])


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
    elif NAME == "squeue" and "--me" in sys.argv:
        (name,) = (word[7:] for word in sys.argv if word.startswith("--name="))
        print(*(line.split()[0] for line in read("names").splitlines() if line.split()[1] == name), sep="\n")
    elif NAME == "squeue":
        print(read("states"), end="")
    elif NAME == "scontrol":
        print(read("limits") or "MaxArraySize            = 1001")
    elif NAME == "qconf":
        print(read("limits") or "max_aj_tasks                 75000")
    elif NAME == "qstat":
        # An ended job is in the list of those whose submission has no clear answer alone.
        shown = (
            read("names").splitlines() if os.path.exists(path("mute")) or os.path.exists(path("late")) else []
        )
        entry = (
            "<job_list><JB_job_number>{}</JB_job_number><JB_name>{}</JB_name><state>Eqw</state></job_list>"
        )
        jobs = "".join(entry.format(*line.split()) for line in shown)
        print(f"<?xml version='1.0'?><job_info><queue_info>{jobs}</queue_info><job_info/></job_info>")


main()
