#!/usr/bin/env bash
# Keeps the routes of a node of make kind-bgp-demo: to each network, through the routers that answer.
#
#   routes.sh "ROUTER..." "NETWORK..."
#
# A node has no routing daemon. It connects to each router twice a second, at a TCP port that nobody
# listens at, and leaves a router out that did not refuse twice. The kernel's neighbour table cannot
# replace that (fib_multipath_use_neigh): progress of a TCP connection confirms the neighbour of its
# next packet, also that of a dead router. A new route also moves connections, which keep their next
# hop until then.
set -euo pipefail
read -ra routers <<<"$1"
read -ra networks <<<"$2"
exec 9>/run/kvip-routes.lock
flock --nonblock 9 || exit 0 # it runs already

answers() { [[ $(timeout 0.5 bash -c ": </dev/tcp/$1/9" 2>&1 || true) == *refused* ]]; }

echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy
declare -A missed
for router in "${routers[@]}"; do missed[$router]=0; done
current=
while true; do
	hops=()
	for router in "${routers[@]}"; do
		if answers "$router"; then missed[$router]=0; else missed[$router]=$((missed[$router] + 1)); fi
		if ((missed[$router] < 2)); then hops+=(nexthop via "$router"); fi
	done
	if ((${#hops[@]} > 0)) && [[ ${hops[*]} != "$current" ]]; then
		for network in "${networks[@]}"; do ip route replace "$network" "${hops[@]}"; done
		current=${hops[*]}
	fi
	sleep 0.5
done
