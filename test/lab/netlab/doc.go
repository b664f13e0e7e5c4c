// Package netlab builds a small Ethernet out of Linux network namespaces and breaks it on
// purpose: hosts, a switch, processes inside the hosts, faults, a packet capture, a sampler of
// who holds an address, and a client that measures outages.
//
// It knows nothing about Kubernetes or kvip, and it is not a test helper: nothing in its core
// imports testing, so that the demo and the benchmark use it too.
//
// Nothing outlives the process that made a lab. The namespaces have no names, so the kernel
// removes them, and the links in them, with their last user; every process started in a host
// is killed with the thread that started it; only the directory of the lab can be left by a
// SIGKILL, and the next [New] removes it.
package netlab
