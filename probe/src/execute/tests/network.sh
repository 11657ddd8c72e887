# A network of its own around a test: this side, and a router with targets behind it of each kind.
# $groups: who may have datagram sockets. The rest of the command line is what runs in it.
set -eu
router=
trap '[ -z "$router" ] || kill "$router"' EXIT
ip link set lo up
sysctl -qw net.ipv4.ping_group_range="$groups"
unshare --net -- sleep 600 > /dev/null 2>&1 &
router=$!
until [ "$(readlink "/proc/$router/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
there() { nsenter -t "$router" -n -- "$@"; }

ip link add here type veth peer name there netns "$router"
ip addr add 10.99.0.1/24 dev here
ip addr add fd99::1/64 dev here nodad
ip link set here up
there ip link set lo up
there ip addr add 10.99.0.2/24 dev there
there ip addr add fd99::2/64 dev there nodad
there ip link set there up
there sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
    net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
there ip link add narrow type veth peer name nobody
there ip link set narrow mtu 1300 up
there ip link set nobody mtu 1300 up
for kind in unreachable prohibit blackhole; do
    number=$((${number:-0} + 1))
    there ip route add "$kind" "10.98.$number.0/24"
    there ip route add "$kind" "fd98:$number::/64"
done
there ip route add 10.98.4.0/24 dev narrow
there ip route add fd98:4::/64 dev narrow
ip route add default via 10.99.0.2
ip route add default via fd99::2
# What this machine itself refuses.
ip route add unreachable 10.97.1.0/24
ip route add prohibit 10.97.2.0/24
"$@"
