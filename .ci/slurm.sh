#!/usr/bin/env bash
# A real SLURM cluster of one node, this machine: installed if missing, started if it does not run.
# Does nothing where a cluster answers already, so it may be called again and again. Debian or Ubuntu, as root.
set -euo pipefail

CONF=/etc/slurm/slurm.conf
SPOOL=/var/spool/adamms-slurm
LOGS=/var/log/adamms-slurm
MARK="# Made by adamms' .ci/slurm.sh"
PATIENCE=60 # seconds until the node must be idle
started=

fail() {
    echo "slurm: $1" >&2
    for log in "$LOGS"/*.log; do
        [ -n "$started" ] && [ -s "$log" ] && echo "--- the end of $log" >&2 && tail -n 8 "$log" >&2
    done
    exit 1
}

# The states of all nodes, or nothing when no controller answers.
states() { timeout 10 sinfo --noheader --format=%T 2>/dev/null || true; }
ready() { states | grep -qE '^(idle|mixed|allocated)$'; }

install_packages() {
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends slurmctld slurmd slurm-client munge; } \
        >"$log" 2>&1 || { tail -n 20 "$log" >&2 && fail "apt-get could not install SLURM"; }
    rm -f "$log"
}

# `slurmd -C` prints this machine's name, processors and memory as a line of slurm.conf. The GPU is none: a
# name that jobs can ask for, so that a GPU job is scheduled as on a real cluster. Waits are short: a job that
# ignores SIGTERM is killed after KillWait, a requeued one may start again after cred_expire. Arrays are short, so
# that a sweep can be too long for one.
write_conf() {
    local node name
    node=$(slurmd -C | head -n 1)
    name=${node#NodeName=}
    name=${name%% *}
    mkdir -p "$(dirname "$CONF")"
    cat >"$CONF" <<END
$MARK
ClusterName=adamms
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1024
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=bf_interval=5,sched_interval=5
GresTypes=gpu
MaxArraySize=20
KillWait=3
ReturnToService=2
MpiDefault=none
StateSaveLocation=$SPOOL/ctld
SlurmdSpoolDir=$SPOOL/d
SlurmctldPidFile=$SPOOL/slurmctld.pid
SlurmdPidFile=$SPOOL/slurmd.pid
SlurmctldLogFile=$LOGS/slurmctld.log
SlurmdLogFile=$LOGS/slurmd.log
$node NodeAddr=127.0.0.1 Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    echo "NodeName=$name Name=gpu File=/dev/null" >"$(dirname "$CONF")/gres.conf"
}

start_munge() {
    munge -n >/dev/null 2>&1 && return
    install -d -o munge -g munge -m 755 /run/munge
    install -d -o munge -g munge -m 700 /etc/munge /var/lib/munge /var/log/munge
    [ -s /etc/munge/munge.key ] || runuser -u munge -- mungekey --create
    runuser -u munge -- munged || fail "munged did not start"
    munge -n >/dev/null || fail "munged does not answer"
}

stop() { # a daemon that was left from before, by the process id that it wrote
    local file=$SPOOL/$1.pid
    [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null && sleep 1
    rm -f "$file"
}

ready && echo "slurm: $(sbatch --version), a cluster is running already" && exit
[ "$(id -u)" -eq 0 ] || fail "no cluster answers, and only root can install and start one"
command -v slurmctld slurmd sbatch munged >/dev/null || {
    command -v apt-get >/dev/null || fail "slurmctld, slurmd and munged are missing, and there is no apt-get"
    install_packages
}
[ ! -e "$CONF" ] || grep -qxF "$MARK" "$CONF" ||
    fail "$CONF is another cluster's, whose controller does not answer (or has no node up); start that one"

stop slurmd
stop slurmctld
rm -rf "$SPOOL/ctld" "$SPOOL/d"
mkdir -p "$SPOOL/ctld" "$SPOOL/d" "$LOGS"
rm -f "$LOGS"/*.log
write_conf
start_munge
started=yes
slurmctld || fail "slurmctld did not start"
slurmd || fail "slurmd did not start"
for ((waited = 0; waited < PATIENCE; waited++)); do
    ready && echo "slurm: $(sbatch --version), one node: $(sinfo --noheader --format='%n, %c CPUs, %m MB, %P')" && exit
    sleep 1
done
fail "the node is not idle after $PATIENCE s; its state: $(states)"
