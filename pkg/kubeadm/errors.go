package kubeadm

import (
	"fmt"
	"strconv"
	"strings"
)

// InputError is a file that kubeadm would refuse, or read otherwise than it was meant.
type InputError struct {
	// File is the name that Parse was given.
	File string
	// Document counts from 1; 0: the file as a whole.
	Document int
	// Line counts from 1 in the file; 0: unknown.
	Line int
	// Field is the path of the field, such as networking.podSubnet; empty: the document as a whole.
	Field string
	// Problem says what is wrong and what to do.
	Problem string
}

// Error names file, document, line and field, as far as they are known, and the problem.
func (e *InputError) Error() string {
	text := e.File
	if e.Document > 0 {
		text += fmt.Sprintf(", document %d", e.Document)
	}
	if e.Line > 0 {
		text += fmt.Sprintf(", line %d", e.Line)
	}
	if e.Field != "" {
		text += ": " + e.Field
	}
	return text + ": " + e.Problem
}

// Reason is why a configuration and a virtual IP do not go together.
type Reason string

// The reasons. Each is explained in docs/kubeadm.md.
const (
	// EndpointMismatch is a controlPlaneEndpoint that is not the VIP.
	EndpointMismatch Reason = "EndpointMismatch"
	// DiscoveryMismatch is a discovery endpoint that is not the VIP.
	DiscoveryMismatch Reason = "DiscoveryMismatch"
	// NameUnresolved is an endpoint whose DNS name cannot be looked up.
	NameUnresolved Reason = "NameUnresolved"
	// NoDiscovery is a JoinConfiguration that says nowhere how to find the cluster.
	NoDiscovery Reason = "NoDiscovery"
	// NoEndpoint is a file that names no VIP while no flag does either.
	NoEndpoint Reason = "NoEndpoint"
	// PortMismatch is an API server on another port than its clients are sent to.
	PortMismatch Reason = "PortMismatch"
	// BindAddressMismatch is an API server that does not listen at the VIP.
	BindAddressMismatch Reason = "BindAddressMismatch"
	// VIPIsAdvertised is a VIP used as advertiseAddress, an address of one node alone.
	VIPIsAdvertised Reason = "VIPIsAdvertised"
	// VIPIsNodeIP is a VIP used as the kubelet's node-ip.
	VIPIsNodeIP Reason = "VIPIsNodeIP"
	// VIPOnHost is a VIP that is a permanent address of this host.
	VIPOnHost Reason = "VIPOnHost"
	// VIPOffLink is a VIP outside every network that this host is attached to.
	VIPOffLink Reason = "VIPOffLink"
	// VIPIsSubnetAddress is a VIP that is the network or broadcast address of this host's network.
	VIPIsSubnetAddress Reason = "VIPIsSubnetAddress"
	// VIPInPodSubnet and VIPInServiceSubnet are VIPs that the cluster gives to something else.
	VIPInPodSubnet     Reason = "VIPInPodSubnet"
	VIPInServiceSubnet Reason = "VIPInServiceSubnet"
	// FlagMismatch is a flag that says something else than the file.
	FlagMismatch Reason = "FlagMismatch"
)

// Conflict is a configuration that cannot be meant together with this VIP on this host.
type Conflict struct {
	Reason Reason
	// File and Line say where; File is empty when no file is concerned, Line 0 when nothing is there.
	File string
	Line int
	// Field is the field or flag, Value what it says; Value is empty when it says nothing.
	Field, Value string
	// Problem is a clause about the value, Fix what to do.
	Problem, Fix string
}

// Error is a sentence that names place, field, value, problem and fix.
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
