#!/usr/bin/env bash
# A Slurm cluster of this one machine, for tests: its own folder, key and ports, no systemd, no root.
#
#     slurm.sh up FOLDER [GPUS]    start it and wait until its node is idle; then: . FOLDER/environment
#     slurm.sh node FOLDER         start the daemon of its node alone, which was killed
#     slurm.sh down FOLDER         end it
#
# The GPUs (2) are names: they are scheduled, and CUDA_VISIBLE_DEVICES is set, but nothing is behind them.
# Needs slurm-wlm and munge. Ports: CDSP_SLURM_PORT (26817) and the one after it.
set -euo pipefail
action=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
gpus=${3:-2}
port=${CDSP_SLURM_PORT:-26817}
PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$folder/slurm.conf

configure() {
    local node user
    node=$(hostname -s)
    user=$(id -un)
    mkdir -p "$folder/bin" "$folder/controller" "$folder/node"
    [ -s "$folder/munge.key" ] || (umask 077 && head -c 128 /dev/urandom >"$folder/munge.key")
    : >"$folder/gres.conf"
    for number in $(seq "$gpus"); do
        # Any device file will do: nobody is kept from others'.
        echo "NodeName=$node Name=gpu File=$([ "$number" = 1 ] && echo /dev/null || echo /dev/zero)" >>"$folder/gres.conf"
    done
    cat >"$SLURM_CONF" <<EOF
ClusterName=cdsp
SlurmctldHost=$node(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/controller
SlurmdSpoolDir=$folder/node
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge=300
KillWait=20
SlurmdTimeout=120
OverTimeLimit=0
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# More processors and memory than there are: tests wait for each other, not for real ones.
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 $([ "$gpus" = 0 ] || echo "Gres=gpu:$gpus") State=UNKNOWN
PartitionName=cpu Nodes=$node Default=YES MaxTime=1440 State=UP
PartitionName=gpu Nodes=$node MaxTime=2880 State=UP
EOF
    # Snakemake's job step keeps SLURM_CONF from its srun, which then looks for /etc/slurm/slurm.conf.
    printf '#!/bin/sh\nexport SLURM_CONF=%s\nexec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$folder/bin/srun"
    chmod +x "$folder/bin/srun"
    printf 'export SLURM_CONF=%s\nexport PATH=%s:$PATH\n' "$SLURM_CONF" "$folder/bin" >"$folder/environment"
}

end() { # of a daemon, by the file of its process id
    local file=$folder/$1.pid
    [ -s "$file" ] || return 0
    local process
    process=$(cat "$file")
    kill "$process" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$process" 2>/dev/null || true
    rm -f "$file"
}

case $action in
    up)
        configure
        munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
            --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
        slurmctld
        slurmd
        for _ in $(seq 300); do
            if [ "$(sinfo --noheader --format=%T 2>/dev/null | sort -u)" = idle ]; then exit 0; fi
            sleep 0.1
        done
        echo "no idle node after half a minute:" >&2
        { sinfo --list-reasons && grep --no-filename error "$folder"/slurm*.log | tail -n 20; } >&2
        "$0" down "$folder"
        exit 1
        ;;
    node) slurmd ;;
    down)
        for daemon in slurmd slurmctld munged; do end "$daemon"; done
        ;;
    *)
        echo "usage: slurm.sh up|node|down FOLDER [GPUS]" >&2
        exit 2
        ;;
esac
