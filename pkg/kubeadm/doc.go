// Package kubeadm reads kubeadm configuration files, compares them with a virtual IP and edits them
// to use it, changing no other byte. It takes bytes and gives bytes: files, this host's addresses and
// DNS are its callers' business, and so is everything that kubeadm itself does.
package kubeadm
