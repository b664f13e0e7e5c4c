package v1alpha1

// ObjectName is the name of an object of kvip, or of a Secret.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')`,message="cannot name an object; use lower-case letters, digits, '-' and '.'"
type ObjectName string

// Interface is the name of a link, as `ip link` prints it.
//
// ---
// dev_valid_name in net/core/dev.c has the rule of the kernel.
//
// +kubebuilder:validation:MaxLength=15
// +kubebuilder:validation:XValidation:rule=`self.matches('^[^/:\\s]+$') && !(self in ['.', '..'])`,message="cannot name a link; write the name as ip link prints it, like eth0"
type Interface string

// ASN is the number of an autonomous system (RFC 6793).
//
// ---
// RFC 7607 reserves 0, RFC 6793 section 9 has AS_TRANS, RFC 7300 reserves the last numbers.
//
// +kubebuilder:validation:Format=int64
// +kubebuilder:validation:Minimum=1
// +kubebuilder:validation:Maximum=4294967295
// +kubebuilder:validation:XValidation:rule=`!(self in [23456, 65535, 4294967295])`,message="is a reserved number; take a private one, 64512 to 65534 or 4200000000 to 4294967294, or your own"
type ASN uint32

// UnicastAddress is the address of one host.
//
// ---
// IPv4 link-local addresses are allowed: some providers peer from them. IPv6 ones exist on every
// link, so an address alone names no host.
//
// +kubebuilder:validation:MaxLength=39
// +kubebuilder:validation:XValidation:rule=`isIP(self)`,message="must be one IPv4 or IPv6 address, without prefix length, port or zone"
// +kubebuilder:validation:XValidation:rule=`!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLoopback() || ip(self).isLinkLocalUnicast()`,message="is not the address of one host: multicast, broadcast and unspecified addresses cannot have sessions; write the address of one interface"
// +kubebuilder:validation:XValidation:rule=`!isIP(self) || ip(self).family() == 4 || !ip(self).isLinkLocalUnicast()`,message="is a link-local address, which every link has; set interface instead, or write another address of the host"
type UnicastAddress string

// SecretReference names a Secret.
type SecretReference struct {
	// Name of the Secret.
	Name ObjectName `json:"name"`
	// Namespace of the Secret. Not set: the namespace of kvip's agents, kube-system.
	// +optional
	Namespace Namespace `json:"namespace,omitempty"`
}
