package kubeadm

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/config"
)

// Request is what a configuration is to be made fit for.
type Request struct {
	// VIPs are the virtual addresses, the first of them the endpoint. Empty: the file names one.
	VIPs []netip.Addr
	// Port of the API servers. 0: what the file says, else 6443.
	Port int
	// Resolve looks up a DNS name that the file has as endpoint. Nil: names are taken as they are.
	Resolve func(name string) ([]netip.Addr, error)
	// Host are the addresses of this host. Nil: it is not compared with the VIPs.
	Host []Address
}

// Address is one address of this host.
type Address struct {
	// Prefix is the address, not masked, with its prefix length.
	Prefix netip.Prefix
	// Link is the name of the link that has it.
	Link string
	// Own says that kvip put it there.
	Own bool
}

// Plan is what Init and Join found and made.
type Plan struct {
	// VIPs and Port are for the manifest.
	VIPs []netip.Addr
	Port int
	// Endpoint is host and port as clients of the cluster use them.
	Endpoint string
	// Data is the configuration to give to kubeadm.
	Data []byte
	// ControlPlane says that the node gets an API server, so that kvip belongs there.
	ControlPlane bool
	// ImageRepository is where the cluster's own images come from; empty: kubeadm's default.
	ImageRepository string
	// DiscoveryFile is the path of a kubeconfig by which `kubeadm join` finds the cluster, or empty.
	DiscoveryFile string
	// Notes are sentences for the user about what was not checked or not changed.
	Notes []string
}

// Minimal returns a configuration for `kubeadm init` with the endpoint and the VIPs and nothing that
// kubeadm has a default for.
func Minimal(r Request) ([]byte, error) {
	if len(r.VIPs) == 0 {
		return nil, &config.UsageError{Flag: "vip", Reason: "no virtual IP address given", Hint: "add one like --vip 192.0.2.10"}
	}
	port := r.Port
	if port == 0 {
		port = config.DefaultPort
	}
	text := cluster(newest, r.VIPs, port, "\n")
	if port != config.DefaultPort {
		text += "---\napiVersion: " + newest + "\nkind: " + initKind + "\nlocalAPIEndpoint:\n  bindPort: " + strconv.Itoa(port) + "\n"
	}
	return []byte(text), nil
}

// cluster writes a ClusterConfiguration.
func cluster(version string, vips []netip.Addr, port int, eol string) string {
	lines := []string{"apiVersion: " + version, "kind: " + clusterKind}
	lines = append(lines, leaf{text: join(vips[0], port)}.block([]string{"controlPlaneEndpoint"}, 0)...)
	lines = append(lines, leaf{items: texts(vips)}.block([]string{"apiServer", "certSANs"}, 0)...)
	return strings.Join(lines, eol) + eol
}

// Init plans `kubeadm init`: the ClusterConfiguration gets the VIP as controlPlaneEndpoint, unless
// it has it or a DNS name for it, and all VIPs as certSANs. A file without one gets one at its end.
// It returns a *Conflict where file, VIP and host cannot be meant together.
func (f *File) Init(r Request) (Plan, error) {
	doc, node := f.of(clusterKind), f.of(initKind)
	if doc == nil && node == nil && f.of(joinKind) != nil {
		return Plan{}, f.refuse(nil, 0, "", "has a "+joinKind+" alone, which is for kubeadm join")
	}
	var has fields
	if doc != nil {
		has = doc.fields
	}
	e := endpoint{f: f, doc: doc, field: "controlPlaneEndpoint", value: has.ControlPlaneEndpoint, elsewhere: EndpointElsewhere}
	local := local{f: f, doc: node, path: "localAPIEndpoint"}
	if node != nil {
		local.has = node.fields.LocalAPIEndpoint
	}
	plan, err := f.plan(r, e, local)
	if err != nil {
		return plan, err
	}
	plan.ControlPlane, plan.ImageRepository = true, has.ImageRepository
	edited, err := f.editCluster(doc, plan, has)
	if err != nil {
		return plan, err
	}
	plan.Data = edited.data
	return plan, nil
}

// editCluster makes the changes of Init.
func (f *File) editCluster(doc *document, plan Plan, has fields) (*File, error) {
	if doc == nil {
		return f.addCluster(plan)
	}
	edited := f
	if missing := missing(plan.VIPs, has.APIServer.CertSANs); len(missing) > 0 {
		var err error
		if edited, err = f.set(doc, []string{"apiServer", "certSANs"}, leaf{items: texts(missing)}); err != nil {
			return nil, err
		}
	}
	// Last, so that it stands above the other where both are new.
	return edited.setEndpoint(edited.docs[doc.number-1], []string{"controlPlaneEndpoint"}, has.ControlPlaneEndpoint, plan)
}

// setEndpoint writes the endpoint where there is none.
func (f *File) setEndpoint(doc *document, path []string, has string, plan Plan) (*File, error) {
	if has != "" {
		return f, nil
	}
	return f.set(doc, path, leaf{text: plan.Endpoint})
}

// addCluster appends a ClusterConfiguration.
func (f *File) addCluster(plan Plan) (*File, error) {
	eol, before, version := "\n", "", newest
	if strings.Contains(string(f.data), "\r\n") {
		eol = "\r\n"
	}
	if !strings.HasSuffix(string(f.data), "\n") {
		before = eol
	}
	if d := f.of(initKind); d != nil {
		version = d.version
	}
	text := before + "---" + eol + cluster(version, plan.VIPs, plan.Port, eol)
	return Parse(f.name, slices.Concat(f.data, []byte(text)))
}

// Join plans `kubeadm join`: the JoinConfiguration gets the VIP as the endpoint of its bootstrap
// token, unless it has it or a DNS name for it. It returns a *Conflict as Init does, and an
// *InputError for a file without a JoinConfiguration.
func (f *File) Join(r Request) (Plan, error) {
	doc := f.of(joinKind)
	if doc == nil {
		return Plan{}, f.refuse(nil, 0, "", "has no "+joinKind+", which kubeadm join needs")
	}
	const field = "discovery.bootstrapToken.apiServerEndpoint"
	token, file := doc.fields.Discovery.BootstrapToken, doc.fields.Discovery.File
	if token == nil && file == nil {
		return Plan{}, f.conflict(doc, "discovery", "", NoDiscovery, "names neither bootstrapToken nor file, so kubeadm cannot find the cluster",
			"add bootstrapToken with token and caCertHashes as kubeadm init printed them")
	}
	e := endpoint{f: f, doc: doc, field: field, elsewhere: DiscoveryElsewhere}
	if token != nil {
		e.value = token.APIServerEndpoint
	}
	local := local{f: f, doc: doc, path: "controlPlane.localAPIEndpoint"}
	if doc.fields.ControlPlane != nil {
		local.has = doc.fields.ControlPlane.LocalAPIEndpoint
	} else {
		local.worker = true
	}
	plan, err := f.plan(r, e, local)
	if err != nil {
		return plan, err
	}
	if _, stated, _ := e.split(); e.value != "" && stated == 0 {
		return plan, f.conflict(doc, field, e.value, PortMismatch, "has no port, and kubeadm join guesses none", "write "+plan.Endpoint)
	}
	plan.ControlPlane, plan.Data = !local.worker, f.data
	if token == nil {
		plan.DiscoveryFile = file.KubeConfigPath
		return plan, nil
	}
	edited, err := f.setEndpoint(doc, strings.Split(field, "."), token.APIServerEndpoint, plan)
	if err != nil {
		return plan, err
	}
	plan.Data = edited.data
	return plan, nil
}

// Check plans a node that joins by flags, without a file: only VIPs and host are compared.
func Check(r Request) (Plan, error) {
	f := &File{name: "command line"}
	plan, err := f.plan(r, endpoint{f: f, field: "--vip"}, local{f: f, worker: true})
	plan.ControlPlane = true
	return plan, err
}

// Settings returns what `kvip manifest pod` takes from a file: the VIP, the port and the repository
// of images; an empty address, 0 and "" where the file does not say.
func (f *File) Settings() (vip netip.Addr, port int, repository string, err error) {
	e := endpoint{f: f, doc: f.of(clusterKind), field: "controlPlaneEndpoint"}
	local := local{f: f, doc: f.of(initKind), path: "localAPIEndpoint"}
	if e.doc != nil {
		e.value, repository = e.doc.fields.ControlPlaneEndpoint, e.doc.fields.ImageRepository
	}
	if local.doc != nil {
		local.has = local.doc.fields.LocalAPIEndpoint
	}
	if join := f.of(joinKind); e.value == "" && join != nil && join.fields.Discovery.BootstrapToken != nil {
		e.doc, e.field = join, "discovery.bootstrapToken.apiServerEndpoint"
		e.value = join.fields.Discovery.BootstrapToken.APIServerEndpoint
		local.doc, local.path, local.worker = join, "controlPlane.localAPIEndpoint", join.fields.ControlPlane == nil
		if !local.worker {
			local.has = join.fields.ControlPlane.LocalAPIEndpoint
		}
	}
	host, stated, err := e.split()
	if err != nil {
		return netip.Addr{}, 0, "", err
	}
	vip, _ = netip.ParseAddr(host)
	port, err = f.port(0, e, stated, local)
	return vip, port, repository, err
}

// join writes an address and a port as kubeadm and URLs want them.
func join(a netip.Addr, port int) string { return net.JoinHostPort(a.String(), strconv.Itoa(port)) }

func texts(addrs []netip.Addr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

// missing returns the addresses that no name in the list spells.
func missing(vips []netip.Addr, names []string) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(vips), func(v netip.Addr) bool {
		return slices.ContainsFunc(names, func(name string) bool { a, err := netip.ParseAddr(name); return err == nil && a.Unmap() == v })
	})
}

// conflict returns a *Conflict about a field of a document; d may be nil.
func (f *File) conflict(d *document, field, value string, reason Reason, problem, fix string) error {
	c := &Conflict{Reason: reason, File: f.name, Field: field, Value: value, Problem: problem, Fix: fix}
	if d != nil {
		c.Field, c.Line = fmt.Sprintf("%s.%s", d.kind, field), d.find(field)
	}
	return c
}
