package kubeadm

import (
	"bytes"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// checkServer refuses arguments of the API server with which clients of a VIP do not reach it.
func (f *File) checkServer(vips []netip.Addr, port int) error {
	d := f.of(clusterKind)
	if d == nil {
		return nil
	}
	for _, arg := range d.fields.APIServer.ExtraArgs {
		if wrong := serverArgument(arg.Name, arg.Value, vips, port); wrong != nil {
			const field = "apiServer.extraArgs"
			return f.conflict(d, field, arg.Name+"="+arg.Value, wrong.Reason, wrong.Problem, wrong.Fix)
		}
	}
	return nil
}

// serverArgument compares one argument of the API server with the VIPs and the port that clients
// use. Reason, Problem and Fix of the result are set; nil means that there is no conflict.
func serverArgument(name, value string, vips []netip.Addr, port int) *Conflict {
	switch addr, err := netip.ParseAddr(value); {
	case name == "bind-address" && (err != nil || !addr.IsUnspecified()):
		// An unspecified address of either family is every address of both.
		return &Conflict{Reason: BindAddressMismatch, Problem: "is the one address that the API server listens at, so nobody reaches it at the VIP",
			Fix: "leave it out, or write 0.0.0.0 or ::"}
	case name == "advertise-address" && err == nil && slices.Contains(vips, addr.Unmap()):
		return &Conflict{Reason: VIPIsAdvertised, Problem: "is the VIP, which moves between nodes",
			Fix: "leave it out, or write the node's own address"}
	case name == "secure-port" && value != strconv.Itoa(port):
		return &Conflict{Reason: PortMismatch, Problem: fmt.Sprintf("is not the port %d that clients use", port),
			Fix: "leave it out, and set bindPort"}
	}
	return nil
}

// serverFlag finds the arguments that matter in the text of a patch, in whatever form that is.
var serverFlag = regexp.MustCompile(`--(bind-address|advertise-address|secure-port)=([^\s"',\]]+)`)

// IsServerPatch reports whether kubeadm applies a file of Plan.Patches to the static pod of the API
// server, by its name.
func IsServerPatch(name string) bool {
	const target = "kube-apiserver"
	extension := path.Ext(name)
	return strings.HasPrefix(name, target) && (extension == ".yaml" || extension == ".json")
}

// CheckPatch refuses a patch of the API server's static pod with which clients of the plan's VIPs do
// not reach it. name is for the message.
func (p Plan) CheckPatch(name string, data []byte) error {
	for _, at := range serverFlag.FindAllSubmatchIndex(data, -1) {
		flag, value := string(data[at[2]:at[3]]), string(data[at[4]:at[5]])
		if wrong := serverArgument(flag, value, p.VIPs, p.Port); wrong != nil {
			wrong.File, wrong.Line = name, 1+bytes.Count(data[:at[0]], []byte("\n"))
			wrong.Field, wrong.Value = "--"+flag, value
			return wrong
		}
	}
	return nil
}
