// Package kubevip says what kube-vip's names mean to kvip: environment variables and flags, annotations of
// Services, and the keys of its cloud provider's ConfigMap, each in one table. It looks at nothing and does nothing
// with what it finds; whoever asks acts on it. The names and their meaning are those of kube-vip v0.3 to v1.2 and of
// kube-vip-cloud-provider v0.0.1 to v0.0.12.
package kubevip
