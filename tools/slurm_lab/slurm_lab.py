#!/usr/bin/env python3
"""A real Slurm on this one host, in a folder of its own, to try and test launchers with.

    tools/slurm_lab/slurm_lab.py up /tmp/lab        # two nodes, each with 2 CPUs and a GPU that is none
    export SLURM_CONF=/tmp/lab/slurm.conf           # what sinfo, sbatch and utils/slurm.py need to find it
    cd egs/mini && ./run.sh ...                     # with slurm.py in cmd.sh
    tools/slurm_lab/slurm_lab.py down /tmp/lab

Needs Debian's packages slurm-wlm and munge (apt-get install --no-install-recommends slurm-wlm munge), and
neither systemd nor their own services. Everything, with a munge key and socket of the lab's own, stands in
the folder; the daemons run as the user who calls, listen on free ports, and are ended by their pid files.

Its nodes are names for this host, so that they share its files, its memory and its CPUs, whatever they
claim to have. A GPU is a character device that every host has: jobs are given it, and see their own
CUDA_VISIBLE_DEVICES, but there is no CUDA. Memory limits are kept by looking at each job once a second.
"""

import argparse
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")
#: Seconds that the nodes may take to be ready.
PATIENCE = 40

# MaxArraySize is small, to see arrays split; cred_expire is how long a job of a lost node waits before it
# is started again; the node and kill times are short, to see faults soon.
SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
SlurmdTimeout=20
KillWait=2
MaxArraySize={max_array}
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=ALL Default=YES
PartitionName=gpu Nodes=ALL
"""


class LabError(Exception):
    """The lab cannot be brought up."""


class SlurmLab:
    """A Slurm in ``folder``.

    Args:
        folder: for all its files; must be on a disk where sockets can be made, with a path under 90 letters.
        nodes, cpus, memory, gpus: how many nodes, and what each claims to have (memory in MB).
        max_array: MaxArraySize; the highest index of an array is one less.
    """

    def __init__(self, folder, nodes=2, cpus=2, memory=4000, gpus=1, max_array=13) -> None:
        self.folder = Path(folder).resolve()
        self.names = [f"d{number}" for number in range(1, nodes + 1)]
        self.cpus, self.memory, self.gpus, self.max_array = cpus, memory, gpus, max_array

    @property
    def environment(self) -> dict:
        """This environment with the variable by which Slurm's commands find the lab."""
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    # ------------------------------------------------------------ up

    def up(self) -> None:
        """Bring it up and wait until all nodes are ready. Raises LabError, with everything ended again."""
        for daemon in DAEMONS:
            if find_daemon(daemon) is None:
                raise LabError(f"{daemon}: no such program: apt-get install slurm-wlm munge")
        if (self.folder / "slurm.conf").exists():
            raise LabError(f"{self.folder}: holds a lab already; 'down' removes it")
        self.configure()
        try:
            self.start_munge()
            self.start_controller()
            for name in self.names:
                self.start_node(name)
            self.wait_until_ready()
        except (LabError, subprocess.SubprocessError) as error:
            logs = "".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))
            self.stop()
            raise LabError(f"{error}\n{logs}") from None

    def configure(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # munge's clients insist
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        ports = free_ports(1 + len(self.names))
        nodes = []
        for name, port in zip(self.names, ports[1:], strict=True):
            (self.folder / name).mkdir()
            gres = f" Gres=gpu:{self.gpus}" if self.gpus else ""
            nodes.append(
                f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} "
                f"CPUs={self.cpus} RealMemory={self.memory}{gres}"
            )
        devices = [
            f"NodeName={name} Name=gpu File={device}" for name in self.names for device in self.devices()
        ]
        (self.folder / "gres.conf").write_text("\n".join(devices) + "\n")
        text = SLURM_CONF.format(
            folder=self.folder,
            host=socket.gethostname(),
            port=ports[0],
            user=getpass.getuser(),
            max_array=self.max_array,
            nodes="\n".join(nodes),
        )
        (self.folder / "slurm.conf").write_text(text)

    def devices(self) -> tuple[str, ...]:
        if self.gpus > len(DEVICES):
            raise LabError(f"a node of the lab has at most {len(DEVICES)} GPUs, not {self.gpus}")
        return DEVICES[: self.gpus]

    def start_munge(self) -> None:
        paths = {name: self.folder / f"munge{end}" for name, end in MUNGE_FILES.items()}
        options = [f"--{name}={path}" for name, path in paths.items()]
        self.start("munged", "--force", *options)

    def start_controller(self) -> None:
        self.start("slurmctld", "-f", str(self.folder / "slurm.conf"))

    def start_node(self, name: str) -> None:
        self.start("slurmd", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def start(self, daemon: str, *options: str) -> None:
        done = subprocess.run(
            [find_daemon(daemon), *options],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "start.log").open("a"),  # a pipe would stay open in the daemon
            timeout=30,
        )
        if done.returncode:
            raise LabError(f"{daemon} does not start")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            states = self.ask("sinfo", "--noheader", "--Node", "--format=%N %t", "--partition=cpu")
            if states.split() == [word for name in self.names for word in (name, "idle")]:
                return
            time.sleep(0.2)
        raise LabError(f"the nodes are not ready after {PATIENCE} s: {states.strip() or 'no answer'}")

    def ask(self, *words: str) -> str:
        """What one of Slurm's commands prints."""
        return subprocess.run(
            words, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        ).stdout

    # ------------------------------------------------------------ faults

    def lose_node(self, name: str) -> None:
        """Take a node down, as if its power failed: nothing on it goes on, and nothing is reported."""
        self.end(name, signal.SIGKILL)
        jobs = self.processes(f"SLURMD_NODENAME={name}")
        # First Slurm's own process above each job, which would tell the controller of the job's death.
        parents = {parent for job in jobs for parent in ancestors(job, b"slurmstepd")}
        for pid in [*parents, *jobs]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.ask("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def return_node(self, name: str) -> None:
        self.start_node(name)
        self.ask("scontrol", "update", f"nodename={name}", "state=resume")

    def stop_controller(self) -> None:
        self.end("slurmctld", signal.SIGTERM)

    # ------------------------------------------------------------ down

    def stop(self) -> None:
        """End all jobs and daemons; the files stay."""
        if self.pid("slurmctld"):
            self.ask("scancel", f"--user={getpass.getuser()}")
            deadline = time.monotonic() + 10
            while self.ask("squeue", "--noheader").strip() and time.monotonic() < deadline:
                time.sleep(0.2)
        nodes = [path.stem for path in self.folder.glob("d*.pid")]
        for name in ["slurmctld", *nodes, "munged"]:
            self.end(name, signal.SIGTERM)
        # What a lost node left, and nothing else: jobs carry the lab's folder in their environment.
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pid(self, name: str) -> int | None:
        """The process in a pid file of the lab, if it lives and is the lab's."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / f"{name}.pid").read_text())
            # Its number may long be another's.
            if str(self.folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def end(self, name: str, number: int) -> None:
        pid = self.pid(name)
        if pid is None:
            return
        os.kill(pid, number)
        deadline = time.monotonic() + 15
        while self.pid(name) == pid:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        with contextlib.suppress(FileNotFoundError):
            (self.folder / f"{name}.pid").unlink()

    def processes(self, also: str = "") -> list[int]:
        """The processes of jobs of this lab, those that also have the variable ``also``."""
        wanted = {f"SLURM_CONF={self.folder}/slurm.conf".encode(), also.encode()} - {b""}
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                variables = set(path.read_bytes().split(b"\0"))
                is_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
                if is_job and wanted <= variables and int(path.parent.name) != os.getpid():
                    found.append(int(path.parent.name))
        return found


MUNGE_FILES = {
    "key-file": ".key",
    "socket": ".sock",
    "pid-file": "d.pid",
    "log-file": "d.log",
    "seed-file": "d.seed",
}


def ancestors(pid: int, name: bytes) -> list[int]:
    """The parents of a process, theirs and so on, as far as they are called ``name``."""
    found = []
    with contextlib.suppress(OSError):
        while True:
            # PID (NAME) STATE PARENT ...; a name may hold anything.
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
            if Path(f"/proc/{pid}/comm").read_bytes().startswith(name):
                found.append(pid)
            elif found:
                break
    return found


def find_daemon(name: str) -> str | None:
    """Daemons stand in folders that a user's PATH may lack."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("folder", help="for all files of the lab; 'down' removes it")
    parser.add_argument("--nodes", type=int, default=2, help="(default 2)")
    parser.add_argument("--cpus", type=int, default=2, help="of each node (default 2)")
    parser.add_argument("--memory", type=int, default=4000, help="of each node, in MB (default 4000)")
    parser.add_argument("--gpus", type=int, default=1, help="of each node (default 1)")
    parser.add_argument("--max-array", type=int, default=13, help="MaxArraySize (default 13)")
    args = parser.parse_args()
    lab = SlurmLab(args.folder, args.nodes, args.cpus, args.memory, args.gpus, args.max_array)
    if args.action == "down":
        if not (lab.folder / "slurm.conf").exists():
            print(f"{lab.folder}: holds no lab", file=sys.stderr)
            return 1
        lab.stop()
        shutil.rmtree(lab.folder)
        return 0
    try:
        lab.up()
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"export SLURM_CONF={lab.folder}/slurm.conf")
    return 0


if __name__ == "__main__":
    sys.exit(main())
