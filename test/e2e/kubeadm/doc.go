// Package kubeadm proves kvip with the real kubeadm, kubelet and containerd: three control planes
// and a worker in kind, with kvip's address as their endpoint from before kubeadm init on, and what
// happens to nodes in a data centre happening to them. It has tests only.
package kubeadm
