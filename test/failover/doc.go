// Package failover lets the node that holds the address fail in each way that kvip has a target
// for, and measures what a client of the address notices. The demo and the benchmark share it.
//
// It does not decide what is a good figure, prints nothing, and knows of kvip and keepalived
// only how to start them and how to see that they are ready.
package failover
