package kubeadm

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kvip/kvip/pkg/config"
)

// defaultServiceSubnet is kubeadm's default for networking.serviceSubnet.
const defaultServiceSubnet = "10.96.0.0/12"

// endpoint is the field with the cluster's address for clients.
type endpoint struct {
	f        *File
	doc      *document // nil: not in the file
	field    string
	value    string
	mismatch Reason // for another value than the VIP
}

// localServer is where this node's own API server listens.
type localServer struct {
	doc      *document // nil: not in the file
	path     string
	endpoint localEndpoint
	worker   bool // no API server on this node
}

// split returns host and port. Both are zero for an empty value, the port for a value without one.
func (e endpoint) split() (host string, port int, err error) {
	if e.value == "" {
		return "", 0, nil
	}
	host, text, err := net.SplitHostPort(e.value)
	if err != nil { // kubeadm takes the whole value as a host, too
		return strings.Trim(e.value, "[]"), 0, nil
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 || host == "" {
		return "", 0, e.conflict(e.mismatch, "is not a host and a port",
			"write it like 192.0.2.10:6443 or remove it")
	}
	return host, port, nil
}

func (e endpoint) conflict(reason Reason, problem, fix string) error {
	return e.f.conflict(e.doc, Conflict{
		Reason:  reason,
		Field:   e.field,
		Value:   e.value,
		Problem: problem,
		Fix:     fix,
	})
}

// plan makes the checks that PlanInit and PlanJoin have in common.
func (f *File) plan(r Request, e endpoint, l localServer) (Plan, error) {
	host, stated, err := e.split()
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{VIPs: r.VIPs}
	if len(plan.VIPs) == 0 {
		vip, err := netip.ParseAddr(host)
		if err != nil {
			return plan, e.conflict(NoEndpoint, "does not contain a virtual IP address",
				"give one with --vip")
		}
		plan.VIPs = []netip.Addr{vip}
	}
	if err := config.CheckVIPs(plan.VIPs); err != nil {
		return plan, err
	}
	if plan.Port, err = f.port(r.Port, e, stated, l); err != nil {
		return plan, err
	}
	plan.Endpoint = hostPort(plan.VIPs[0], plan.Port)
	if host != "" {
		plan.Endpoint = net.JoinHostPort(host, strconv.Itoa(plan.Port))
		note, err := e.checkHost(host, plan.VIPs, r.Resolve)
		if err != nil {
			return plan, err
		}
		plan.Notes = append(plan.Notes, note...)
	}
	for _, v := range plan.VIPs {
		if err := f.checkVIP(v, r, l); err != nil {
			return plan, err
		}
	}
	return plan, f.checkServer(plan.VIPs, plan.Port)
}

// port returns the one port on which API servers listen and clients connect. Without bindPort the
// API server listens on kubeadm's default.
func (f *File) port(flag int, e endpoint, stated int, l localServer) (int, error) {
	listens, field := l.endpoint.BindPort, l.path+".bindPort"
	if l.worker { // other nodes' API servers
		listens = max(flag, stated)
	}
	if listens == 0 {
		listens = config.DefaultPort
	}
	wanted, source := stated, e.field
	if flag != 0 {
		wanted, source = flag, "--port"
	}
	if flag != 0 && stated != 0 && flag != stated {
		return 0, e.conflict(PortMismatch, fmt.Sprintf("has port %d, but --port is %d", stated, flag),
			"make them equal")
	}
	if wanted == 0 || wanted == listens {
		return listens, nil
	}
	value := strconv.Itoa(l.endpoint.BindPort)
	problem := fmt.Sprintf("is not the port %d of %s", wanted, source)
	if l.endpoint.BindPort == 0 {
		value, problem = "", fmt.Sprintf("is not set, so the API server listens on %d, but %s has %d",
			config.DefaultPort, source, wanted)
	}
	if l.doc == nil {
		field = initKind + "." + field
	}
	return 0, f.conflict(l.doc, Conflict{
		Reason:  PortMismatch,
		Field:   field,
		Value:   value,
		Problem: problem,
		Fix: fmt.Sprintf("make them equal: kvip does not translate ports, so clients must use the "+
			"port of the API servers; for %d set bindPort: %d", wanted, wanted),
	})
}

// checkHost checks that the host of the endpoint is a VIP or a name that resolves to VIPs only.
func (e endpoint) checkHost(host string, vips []netip.Addr,
	resolve func(string) ([]netip.Addr, error)) (notes []string, err error) {
	names := strings.Join(texts(vips), ",")
	if a, err := netip.ParseAddr(host); err == nil {
		if slices.Contains(vips, a.Unmap()) {
			return nil, nil
		}
		return nil, e.conflict(e.mismatch, "is another address than the VIP "+names,
			"change or remove it, or give that address with --vip")
	}
	if len(validation.IsDNS1123Subdomain(host)) > 0 { // kubeadm's own check
		return nil, e.conflict(e.mismatch, "is neither an address nor a DNS name in lower case",
			"write it like "+hostPort(vips[0], config.DefaultPort))
	}
	if resolve == nil {
		return []string{
			fmt.Sprintf("%s %q is kept; kvip did not check that it resolves to %s", e.field, host, names),
		}, nil
	}
	found, err := resolve(host)
	if err != nil || len(found) == 0 {
		return nil, e.conflict(NameUnresolved,
			fmt.Sprintf("is a name that this host cannot resolve (%v)", err),
			fmt.Sprintf("let it resolve to %s, in DNS or /etc/hosts, on every node", names))
	}
	for _, a := range found {
		if !slices.Contains(vips, a.Unmap()) {
			return nil, e.conflict(e.mismatch,
				fmt.Sprintf("resolves to %s, which is not the VIP %s", a, names),
				"let it resolve to the VIP only, or write the VIP")
		}
	}
	return nil, nil
}

// checkVIP compares a VIP with the other addresses of the file and of the host.
func (f *File) checkVIP(v netip.Addr, r Request, l localServer) error {
	const moves, fix = "is the VIP, which moves between nodes",
		"write the node's own address, or choose a free address as VIP"
	if a, err := netip.ParseAddr(l.endpoint.AdvertiseAddress); err == nil && a.Unmap() == v {
		return f.conflict(l.doc, Conflict{
			Reason:  VIPIsAdvertised,
			Field:   l.path + ".advertiseAddress",
			Value:   l.endpoint.AdvertiseAddress,
			Problem: moves,
			Fix:     fix,
		})
	}
	if l.doc != nil {
		for _, arg := range l.doc.fields.NodeRegistration.KubeletExtraArgs {
			if arg.Name == "node-ip" && len(missing([]netip.Addr{v}, strings.Split(arg.Value, ","))) == 0 {
				return f.conflict(l.doc, Conflict{
					Reason:  VIPIsNodeIP,
					Field:   "nodeRegistration.kubeletExtraArgs",
					Value:   "node-ip=" + arg.Value,
					Problem: moves,
					Fix:     fix,
				})
			}
		}
	}
	if err := f.checkSubnets(v); err != nil {
		return err
	}
	if r.Host == nil {
		return nil
	}
	return checkHostAddresses(v, r.Host, r.Routed)
}

// checkSubnets refuses a VIP that the cluster may assign to a pod or a Service.
func (f *File) checkSubnets(v netip.Addr) error {
	d := f.document(clusterKind)
	pods, services, source := "", defaultServiceSubnet, "kubeadm's default, "
	if d != nil {
		pods = d.fields.Networking.PodSubnet
		if s := d.fields.Networking.ServiceSubnet; s != "" {
			services, source = s, ""
		}
	} else if f.document(joinKind) != nil || len(f.docs) == 0 {
		services = "" // unknown here: that of the cluster to join
	}
	for _, row := range []struct {
		field, value, source, users string
		reason                      Reason
	}{
		{"networking.podSubnet", pods, "", "pods", VIPInPodSubnet},
		{"networking.serviceSubnet", services, source, "Services", VIPInServiceSubnet},
	} {
		for text := range strings.SplitSeq(row.value, ",") {
			if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && p.Contains(v) {
				return f.conflict(d, Conflict{
					Reason:  row.reason,
					Field:   row.field,
					Value:   row.value,
					Problem: fmt.Sprintf("(%sfor %s) contains the VIP %s", row.source, row.users, v),
					Fix:     "choose another subnet or another VIP",
				})
			}
		}
	}
	return nil
}

// checkHostAddresses compares a VIP with this host's addresses. It ignores those that kvip
// assigned: the command may run again on the holder. A routed VIP must be in no subnet of the host,
// another one in one of them.
func checkHostAddresses(v netip.Addr, host []Address, routed bool) error {
	conflict := func(reason Reason, problem, fix string) error {
		return &Conflict{Reason: reason, Field: "--vip", Value: v.String(), Problem: problem, Fix: fix}
	}
	var subnets []string
	onLink := false
	for _, a := range host {
		p := a.Prefix.Masked()
		switch {
		case a.Managed:
		case a.Prefix.Addr() == v:
			return conflict(VIPOnHost, "is an address of this host, on "+a.Link,
				"choose an address that no machine has, or remove it from this host")
		case !hasNeighbours(p) || p.Addr().Is4() != v.Is4():
		case !p.Contains(v):
			subnets = append(subnets, p.String()+" on "+a.Link)
		case config.CheckInSubnet(v, a.Prefix) != nil:
			return conflict(VIPIsSubnetAddress,
				"is the network or broadcast address of "+p.String()+" on "+a.Link,
				"choose an address between the first and the last")
		default:
			onLink = true
		}
	}
	switch {
	case routed && onLink:
		return conflict(VIPOnLink, "is in a subnet of this host, where neighbours would ask for it",
			"choose an address outside of the nodes' subnets for --announce=bgp, or --announce=arp")
	case routed || onLink:
		return nil
	}
	problem := "is outside of every subnet of this host, which has none of that family"
	if len(subnets) > 0 {
		problem = "is outside of every subnet of this host: " + strings.Join(subnets, ", ")
	}
	return conflict(
		VIPOffLink,
		problem,
		"choose an address in one of the node's subnets, add --announce=bgp for an address that is "+
			"reached by routes, or --skip-host-checks to prepare files for another machine",
	)
}

// hasNeighbours reports whether other hosts can have reachable addresses of the prefix.
func hasNeighbours(p netip.Prefix) bool {
	return !p.IsSingleIP() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast()
}

// checkServer refuses arguments of the API server that make it unreachable at a VIP.
func (f *File) checkServer(vips []netip.Addr, port int) error {
	d := f.document(clusterKind)
	if d == nil {
		return nil
	}
	for _, arg := range d.fields.APIServer.ExtraArgs {
		if c := checkServerArgument(arg.Name, arg.Value, vips, port); c != nil {
			c.Field, c.Value = "apiServer.extraArgs", arg.Name+"="+arg.Value
			return f.conflict(d, *c)
		}
	}
	return nil
}

// checkServerArgument compares one argument of the API server with the VIPs and the port of
// clients. The result has Reason, Problem and Fix, or is nil.
func checkServerArgument(name, value string, vips []netip.Addr, port int) *Conflict {
	switch addr, err := netip.ParseAddr(value); {
	case name == "bind-address" && (err != nil || !addr.IsUnspecified()):
		// The unspecified address of either family binds all addresses of both.
		return &Conflict{
			Reason:  BindAddressMismatch,
			Problem: "is the only address that the API server listens on, so it is not reachable at the VIP",
			Fix:     "remove it, or write 0.0.0.0 or ::",
		}
	case name == "advertise-address" && err == nil && slices.Contains(vips, addr.Unmap()):
		return &Conflict{Reason: VIPIsAdvertised, Problem: "is the VIP, which moves between nodes",
			Fix: "remove it, or write the node's own address"}
	case name == "secure-port" && value != strconv.Itoa(port):
		return &Conflict{
			Reason:  PortMismatch,
			Problem: fmt.Sprintf("is not the port %d that clients use", port),
			Fix:     "remove it, and set bindPort",
		}
	}
	return nil
}

// serverFlag matches the arguments that matter in the text of a patch of any type.
var serverFlag = regexp.MustCompile(`--(bind-address|advertise-address|secure-port)=([^\s"',\]]+)`)

// IsServerPatch reports whether kubeadm applies a file of Plan.Patches with this name to the
// static pod of the API server.
func IsServerPatch(name string) bool {
	extension := path.Ext(name)
	return strings.HasPrefix(name, "kube-apiserver") && (extension == ".yaml" || extension == ".json")
}

// CheckPatch refuses a patch of the API server's static pod that makes it unreachable at the plan's
// VIPs. name is for the message.
func (p Plan) CheckPatch(name string, data []byte) error {
	for _, at := range serverFlag.FindAllSubmatchIndex(data, -1) {
		flag, value := string(data[at[2]:at[3]]), string(data[at[4]:at[5]])
		if c := checkServerArgument(flag, value, p.VIPs, p.Port); c != nil {
			c.File, c.Line = name, 1+bytes.Count(data[:at[0]], []byte("\n"))
			c.Field, c.Value = "--"+flag, value
			return c
		}
	}
	return nil
}
