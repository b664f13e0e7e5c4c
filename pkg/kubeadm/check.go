package kubeadm

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kvip/kvip/pkg/config"
)

// defaultServices is what kubeadm gives to Services when a file does not say.
const defaultServices = "10.96.0.0/12"

// endpoint is the field that clients learn the cluster's address from.
type endpoint struct {
	f         *File
	doc       *document // nil: not in the file
	field     string
	value     string
	elsewhere Reason
}

// local is the field that says where this node's own API server listens.
type local struct {
	f      *File
	doc    *document // nil: not in the file
	path   string
	has    localEndpoint
	worker bool // no API server here
}

// split returns host and port; the port is 0 and the host empty where the value has none.
func (e endpoint) split() (host string, port int, err error) {
	if e.value == "" {
		return "", 0, nil
	}
	host, text, err := net.SplitHostPort(e.value)
	if err != nil { // kubeadm, too, takes the whole for a host then
		return strings.Trim(e.value, "[]"), 0, nil
	}
	port, err = strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 || host == "" {
		return "", 0, e.f.conflict(e.doc, e.field, e.value, e.elsewhere, "is not a host and a port", "write it like 192.0.2.10:6443 or leave it out")
	}
	return host, port, nil
}

// plan compares everything that Init and Join have in common.
func (f *File) plan(r Request, e endpoint, l local) (Plan, error) {
	host, stated, err := e.split()
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{VIPs: r.VIPs}
	if len(plan.VIPs) == 0 {
		vip, err := netip.ParseAddr(host)
		if err != nil {
			return plan, f.conflict(e.doc, e.field, e.value, NoEndpoint, "names no virtual IP address", "give one with --vip")
		}
		plan.VIPs = []netip.Addr{vip}
	}
	if err := config.CheckVIPs(plan.VIPs); err != nil {
		return plan, err
	}
	if plan.Port, err = f.port(r.Port, e, stated, l); err != nil {
		return plan, err
	}
	plan.Endpoint = join(plan.VIPs[0], plan.Port)
	if host != "" {
		plan.Endpoint = net.JoinHostPort(host, strconv.Itoa(plan.Port))
		note, err := e.leadsTo(host, plan.VIPs, r.Resolve)
		if err != nil {
			return plan, err
		}
		plan.Notes = append(plan.Notes, note...)
	}
	for _, v := range plan.VIPs {
		if err := f.checkVIP(v, r.Host, l); err != nil {
			return plan, err
		}
	}
	return plan, f.checkServer(plan.VIPs, plan.Port)
}

// port finds the one port on which API servers listen and clients call. kubeadm's default counts as
// said: where bindPort is left out, the API server listens there.
func (f *File) port(flag int, e endpoint, stated int, l local) (int, error) {
	listens, field := l.has.BindPort, l.path+".bindPort"
	if l.worker { // other nodes' API servers
		listens = max(flag, stated)
	}
	if listens == 0 {
		listens = config.DefaultPort
	}
	wants, who := stated, e.field
	if flag != 0 {
		wants, who = flag, "--port"
	}
	if flag != 0 && stated != 0 && flag != stated {
		return 0, f.conflict(e.doc, e.field, e.value, PortMismatch, fmt.Sprintf("has port %d, and --port is %d", stated, flag), "make them equal")
	}
	if wants == 0 || wants == listens {
		return listens, nil
	}
	value, problem := strconv.Itoa(l.has.BindPort), fmt.Sprintf("is not the port %d of %s", wants, who)
	if l.has.BindPort == 0 {
		value, problem = "", fmt.Sprintf("is not set, so the API server listens on %d, and %s says %d", config.DefaultPort, who, wants)
	}
	doc := l.doc
	if doc == nil {
		field = initKind + "." + field
	}
	return 0, f.conflict(doc, field, value, PortMismatch, problem, fmt.Sprintf("make them equal: kvip does not translate ports, so clients need the one on which API servers listen; for %d set bindPort: %d", wants, wants))
}

// leadsTo checks that clients who use the endpoint's host come to a VIP.
func (e endpoint) leadsTo(host string, vips []netip.Addr, resolve func(string) ([]netip.Addr, error)) (notes []string, err error) {
	names := strings.Join(texts(vips), ",")
	if a, err := netip.ParseAddr(host); err == nil {
		if slices.Contains(vips, a.Unmap()) {
			return nil, nil
		}
		return nil, e.f.conflict(e.doc, e.field, e.value, e.elsewhere, "is another address than the VIP "+names, "change or remove it, or give that address with --vip")
	}
	if len(validation.IsDNS1123Subdomain(host)) > 0 { // which kubeadm asks, too
		return nil, e.f.conflict(e.doc, e.field, e.value, e.elsewhere, "is neither an address nor a DNS name in lower case", "write it like "+join(vips[0], config.DefaultPort))
	}
	if resolve == nil {
		return []string{fmt.Sprintf("%s %q is kept; whether it resolves to %s was not checked", e.field, host, names)}, nil
	}
	found, err := resolve(host)
	if err != nil || len(found) == 0 {
		return nil, e.f.conflict(e.doc, e.field, e.value, NameUnresolved, fmt.Sprintf("is a name that cannot be looked up here (%v)", err),
			fmt.Sprintf("let it resolve to %s, in DNS or /etc/hosts, on every node", names))
	}
	for _, a := range found {
		if !slices.Contains(vips, a.Unmap()) {
			return nil, e.f.conflict(e.doc, e.field, e.value, e.elsewhere, fmt.Sprintf("resolves to %s, which is not the VIP %s", a, names),
				"let it resolve to the VIP alone, or write the VIP")
		}
	}
	return nil, nil
}

// checkVIP compares a VIP with what else the file and the host use addresses for.
func (f *File) checkVIP(v netip.Addr, host []Address, l local) error {
	const fix = "that address must stay on this node: write the node's own, or choose a free one as VIP"
	if a, err := netip.ParseAddr(l.has.AdvertiseAddress); err == nil && a.Unmap() == v {
		return f.conflict(l.doc, l.path+".advertiseAddress", l.has.AdvertiseAddress, VIPIsAdvertised, "is the VIP, which moves between nodes", fix)
	}
	if l.doc != nil {
		for _, arg := range l.doc.fields.NodeRegistration.KubeletExtraArgs {
			if arg.Name == "node-ip" && len(missing([]netip.Addr{v}, strings.Split(arg.Value, ","))) == 0 {
				return f.conflict(l.doc, "nodeRegistration.kubeletExtraArgs", "node-ip="+arg.Value, VIPIsNodeIP, "names the VIP, which moves between nodes", fix)
			}
		}
	}
	if err := f.checkSubnets(v); err != nil {
		return err
	}
	if host == nil {
		return nil
	}
	return checkHost(v, host)
}

// checkSubnets refuses a VIP that the cluster hands out itself.
func (f *File) checkSubnets(v netip.Addr) error {
	d, pods, services, by := f.of(clusterKind), "", defaultServices, "kubeadm's default, "
	if d != nil {
		pods = d.fields.Networking.PodSubnet
		if s := d.fields.Networking.ServiceSubnet; s != "" {
			services, by = s, ""
		}
	} else if f.of(joinKind) != nil || len(f.docs) == 0 {
		services = "" // the cluster that is joined has its own
	}
	for _, row := range []struct {
		field, value, by, what string
		reason                 Reason
	}{
		{"networking.podSubnet", pods, "", "pods", VIPInPodSubnet},
		{"networking.serviceSubnet", services, by, "Services", VIPInServiceSubnet},
	} {
		for text := range strings.SplitSeq(row.value, ",") {
			if p, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil && p.Contains(v) {
				return f.conflict(d, row.field, row.value, row.reason, fmt.Sprintf("(%sfor %s) contains the VIP %s", row.by, row.what, v), "choose another subnet or another VIP")
			}
		}
	}
	return nil
}

// checkHost compares a VIP with this host's addresses. One that kvip put there is no address of the
// node: the command may run again on the holder.
func checkHost(v netip.Addr, host []Address) error {
	refuse := func(reason Reason, problem, fix string) error {
		return &Conflict{Reason: reason, Field: "--vip", Value: v.String(), Problem: problem, Fix: fix}
	}
	var near []string
	onLink := false
	for _, a := range host {
		p := a.Prefix.Masked()
		switch {
		case a.Managed:
		case a.Prefix.Addr() == v:
			return refuse(VIPOnHost, "is an address of this host, on "+a.Link, "choose an address that no machine has, or remove it there")
		case !isNetwork(p) || p.Addr().Is4() != v.Is4():
		case !p.Contains(v):
			near = append(near, p.String()+" on "+a.Link)
		case config.CheckInSubnet(v, a.Prefix) != nil:
			return refuse(VIPIsSubnetAddress, "is the network or broadcast address of "+p.String()+" on "+a.Link, "choose an address between the first and the last")
		default:
			onLink = true
		}
	}
	if onLink {
		return nil
	}
	problem := "is outside every network of this host, which has none of that family"
	if len(near) > 0 {
		problem = "is outside every network of this host: " + strings.Join(near, ", ")
	}
	return refuse(VIPOffLink, problem, "choose an address inside one of the node's networks, or add --skip-host-checks to prepare files for another machine")
}

// isNetwork says whether neighbours can have addresses of the prefix that others reach.
func isNetwork(p netip.Prefix) bool {
	return !p.IsSingleIP() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast()
}
