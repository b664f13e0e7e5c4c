// Package cluster runs three real control-plane nodes, each with its own etcd member and
// kube-apiserver as kubeadm's stacked topology has them, on the hosts of a netlab, and breaks
// them on purpose. Certificates and kubeconfigs come from kubeadm itself.
//
// It is not kvip's: it starts an agent in a node and knows nothing about what it does there.
// Kubelet, scheduler and controller manager are left out, since nothing here needs them.
//
// Data lives in /dev/shm where that has room, because three etcd members that share one
// machine's disk would wait for each other's fsync, which three machines do not do. fsync
// itself stays on.
package cluster
