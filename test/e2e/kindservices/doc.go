// Package kindservices proves with the real kubeadm, kubelet, kube-proxy and containerd what kvip
// does for Services: the case study in kind, with one control plane and three workers. It has tests
// only; the scenarios are those of the demonstration (kind/casestudy).
package kindservices
