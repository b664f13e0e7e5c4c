// Package kubeadm reads kubeadm configuration files, compares them with a virtual IP and edits them
// to use it, without changing any other byte. It takes and returns bytes: access to files, to this
// host's addresses and to DNS is the caller's job. It does not run kubeadm.
package kubeadm

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/config"
)

// Reason is why a configuration contradicts a virtual IP.
type Reason string

// The reasons. docs/kubeadm.md explains each.
const (
	// EndpointMismatch is a controlPlaneEndpoint that is not the VIP.
	EndpointMismatch Reason = "EndpointMismatch"
	// DiscoveryMismatch is a discovery endpoint that is not the VIP.
	DiscoveryMismatch Reason = "DiscoveryMismatch"
	// NameUnresolved is an endpoint whose DNS name cannot be resolved.
	NameUnresolved Reason = "NameUnresolved"
	// NoDiscovery is a JoinConfiguration without a way to find the cluster.
	NoDiscovery Reason = "NoDiscovery"
	// NoEndpoint is a file without a VIP, while no flag has one either.
	NoEndpoint Reason = "NoEndpoint"
	// PortMismatch is an API server on another port than its clients use.
	PortMismatch Reason = "PortMismatch"
	// BindAddressMismatch is an API server that does not listen on the VIP.
	BindAddressMismatch Reason = "BindAddressMismatch"
	// VIPIsAdvertised is a VIP used as advertiseAddress, which belongs to one node.
	VIPIsAdvertised Reason = "VIPIsAdvertised"
	// VIPIsNodeIP is a VIP used as the kubelet's node-ip.
	VIPIsNodeIP Reason = "VIPIsNodeIP"
	// VIPOnHost is a VIP that is a permanent address of this host.
	VIPOnHost Reason = "VIPOnHost"
	// VIPOffLink is a VIP outside of every subnet of this host.
	VIPOffLink Reason = "VIPOffLink"
	// VIPOnLink is a VIP for BGP in a subnet of this host.
	VIPOnLink Reason = "VIPOnLink"
	// VIPIsSubnetAddress is a VIP that is the network or broadcast address of this host's subnet.
	VIPIsSubnetAddress Reason = "VIPIsSubnetAddress"
	// VIPInPodSubnet is a VIP that the cluster may assign to a pod.
	VIPInPodSubnet Reason = "VIPInPodSubnet"
	// VIPInServiceSubnet is a VIP that the cluster may assign to a Service.
	VIPInServiceSubnet Reason = "VIPInServiceSubnet"
	// FlagMismatch is a flag that contradicts the file.
	FlagMismatch Reason = "FlagMismatch"
)

// Conflict is a configuration that contradicts the VIP or this host.
type Conflict struct {
	Reason Reason
	// File and Line are the place. File is empty if the conflict is in no file, Line 0 if the field
	// is missing.
	File string
	Line int
	// Field is the field or flag, Value its value; Value is empty if the field is missing.
	Field, Value string
	// Problem is a clause about the value, Fix what to do.
	Problem, Fix string
}

// Error is a sentence of place, field, value, problem and fix.
func (e *Conflict) Error() string {
	var text strings.Builder
	if e.File != "" {
		text.WriteString(e.File)
		if e.Line > 0 {
			text.WriteString(", line " + strconv.Itoa(e.Line))
		}
		text.WriteString(": ")
	}
	text.WriteString(e.Field + ": ")
	if e.Value != "" {
		text.WriteString(strconv.Quote(e.Value) + " ")
	}
	text.WriteString(e.Problem + "; " + e.Fix + " (" + string(e.Reason) + ")")
	return text.String()
}

// conflict completes a *Conflict about a field of a document; d may be nil.
func (f *File) conflict(d *document, c Conflict) error {
	c.File = f.name
	if d != nil {
		c.Line, c.Field = d.find(c.Field), fmt.Sprintf("%s.%s", d.kind, c.Field)
	}
	return &c
}

// invalid returns an *config.InputError; d is nil for the file as a whole.
func (f *File) invalid(d *document, line int, field, problem string) error {
	e := &config.InputError{File: f.name, Line: line, Field: field, Problem: problem}
	if d != nil && d.number > 0 {
		e.Document = d.number
	}
	return e
}
