#!/bin/sh
# The first program of a machine: makes it one in which tests can run, runs them, and says how they ended.
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# What is written here is read as it is.
stty -F /dev/ttyS1 raw
# Their fallback devices would be in every namespace of a test.
echo 2 >/proc/sys/net/core/fb_tunnels_only_for_init_net
for file in $(find /lib/modules -name "*.ko"); do
    name=${file##*/}
    modprobe "${name%.ko}"
done
ip link set lo up
exec >/dev/ttyS1 2>&1
cd /tests
# Here, what tests need is there, or they fail.
export LB_BIN=/tests/lb LB_OBJECT=/tests/lb.o LB_MACHINE=1
failed=0
. /tests/run
echo "machine done: $failed"
sleep 0.2
poweroff -f
