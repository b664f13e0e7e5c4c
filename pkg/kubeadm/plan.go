package kubeadm

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kvip/kvip/pkg/config"
)

// Request is what a configuration must fit.
type Request struct {
	// VIPs are the virtual addresses. The first is the endpoint. Empty: that of the file.
	VIPs []netip.Addr
	// Port of the API servers. 0: that of the file, else 6443.
	Port int
	// Resolve resolves a DNS name that the file has as endpoint. Nil: names are not checked.
	Resolve func(name string) ([]netip.Addr, error)
	// Host has the addresses of this host. Nil: they are not checked.
	Host []Address
	// Routed reports that routes lead to the VIPs, which BGP announces.
	Routed bool
}

// Address is one address of this host.
type Address struct {
	// Prefix is the address, not masked, with its prefix length.
	Prefix netip.Prefix
	// Link is the name of its link.
	Link string
	// Managed reports that kvip assigned it.
	Managed bool
}

// Plan is the result of PlanInit and PlanJoin.
type Plan struct {
	// VIPs and Port are for the manifest.
	VIPs []netip.Addr
	Port int
	// Endpoint is host and port for clients of the cluster.
	Endpoint string
	// Data is the edited configuration.
	Data []byte
	// ControlPlane reports that the node gets an API server, and therefore kvip.
	ControlPlane bool
	// ImageRepository is that of the cluster's images; empty: kubeadm's default.
	ImageRepository string
	// DiscoveryFile is the path of the kubeconfig for discovery, or empty.
	DiscoveryFile string
	// Patches is the directory of patches that kubeadm applies to static pods, or empty. CheckPatch
	// checks those of the API server.
	Patches string
	// Notes are sentences for the user about what was not checked or not changed.
	Notes []string
}

// MinimalConfig returns a configuration for `kubeadm init` with the endpoint and the VIPs, and
// without fields that have a default.
func MinimalConfig(r Request) ([]byte, error) {
	if len(r.VIPs) == 0 {
		return nil, (config.Config{}).Validate(config.Address)
	}
	port := r.Port
	if port == 0 {
		port = config.DefaultPort
	}
	text := clusterConfiguration(newestVersion, r.VIPs, port, "\n")
	if port != config.DefaultPort {
		text += "---\napiVersion: " + newestVersion + "\nkind: " + initKind +
			"\nlocalAPIEndpoint:\n  bindPort: " + strconv.Itoa(port) + "\n"
	}
	return []byte(text), nil
}

// clusterConfiguration returns the text of a ClusterConfiguration.
func clusterConfiguration(version string, vips []netip.Addr, port int, eol string) string {
	lines := []string{"apiVersion: " + version, "kind: " + clusterKind}
	endpoint, names := yamlValue{text: hostPort(vips[0], port)}, yamlValue{items: texts(vips)}
	lines = append(lines, endpoint.blockField([]string{"controlPlaneEndpoint"}, 0)...)
	lines = append(lines, names.blockField([]string{"apiServer", "certSANs"}, 0)...)
	return strings.Join(lines, eol) + eol
}

// PlanInit plans `kubeadm init`: the ClusterConfiguration gets the VIP as controlPlaneEndpoint,
// unless that is the VIP or a DNS name for it, and all VIPs as certSANs. A file without
// ClusterConfiguration gets one at its end. It returns a *Conflict if file, VIP and host contradict
// each other.
func (f *File) PlanInit(r Request) (Plan, error) {
	doc, node := f.document(clusterKind), f.document(initKind)
	switch {
	case doc == nil && node == nil && f.document(joinKind) != nil:
		return Plan{}, f.invalid(nil, 0, "", "has a "+joinKind+" only, which is for kubeadm join")
	case doc == nil && node == nil:
		return Plan{}, f.invalid(nil, 0, "",
			"has neither "+clusterKind+" nor "+initKind+"; kubeadm init needs one of them")
	}
	var present fields
	if doc != nil {
		present = doc.fields
	}
	e := endpoint{
		f:        f,
		doc:      doc,
		field:    "controlPlaneEndpoint",
		value:    present.ControlPlaneEndpoint,
		mismatch: EndpointMismatch,
	}
	local := localServer{doc: node, path: "localAPIEndpoint"}
	if node != nil {
		local.endpoint = node.fields.LocalAPIEndpoint
	}
	plan, err := f.plan(r, e, local)
	if err != nil {
		return plan, err
	}
	if node != nil {
		plan.Patches = node.fields.Patches.Directory
	}
	plan.ControlPlane, plan.ImageRepository = true, present.ImageRepository
	edited, err := f.editCluster(doc, plan, present)
	if err != nil {
		return plan, err
	}
	plan.Data = edited.data
	return plan, nil
}

// editCluster makes the changes of PlanInit.
func (f *File) editCluster(doc *document, plan Plan, present fields) (*File, error) {
	if doc == nil {
		return f.appendCluster(plan)
	}
	edited := f
	if absent := missing(plan.VIPs, present.APIServer.CertSANs); len(absent) > 0 {
		var err error
		edited, err = f.set(doc, []string{"apiServer", "certSANs"}, yamlValue{items: texts(absent)})
		if err != nil {
			return nil, err
		}
	}
	// The endpoint is last, so that it is above certSANs if both are new.
	return edited.setEndpoint(edited.docs[doc.number-1], []string{"controlPlaneEndpoint"},
		present.ControlPlaneEndpoint, plan)
}

// setEndpoint sets the endpoint if there is none.
func (f *File) setEndpoint(doc *document, path []string, present string, plan Plan) (*File, error) {
	if present != "" {
		return f, nil
	}
	return f.set(doc, path, yamlValue{text: plan.Endpoint})
}

// appendCluster appends a ClusterConfiguration.
func (f *File) appendCluster(plan Plan) (*File, error) {
	eol, before, version := "\n", "", newestVersion
	if strings.Contains(string(f.data), "\r\n") {
		eol = "\r\n"
	}
	if !strings.HasSuffix(string(f.data), "\n") {
		before = eol
	}
	if d := f.document(initKind); d != nil {
		version = d.version
	}
	text := before + "---" + eol + clusterConfiguration(version, plan.VIPs, plan.Port, eol)
	return Parse(f.name, slices.Concat(f.data, []byte(text)))
}

const discoveryField = "discovery.bootstrapToken.apiServerEndpoint"

// PlanJoin plans `kubeadm join`: the JoinConfiguration gets the VIP as the endpoint of its
// bootstrap token, unless that is the VIP or a DNS name for it. It returns a *Conflict as PlanInit
// does, and an *config.InputError for a file without a JoinConfiguration.
func (f *File) PlanJoin(r Request) (Plan, error) {
	doc := f.document(joinKind)
	if doc == nil {
		return Plan{}, f.invalid(nil, 0, "", "has no "+joinKind+"; kubeadm join needs one")
	}
	token, file := doc.fields.Discovery.BootstrapToken, doc.fields.Discovery.File
	if token == nil && file == nil {
		return Plan{}, f.conflict(doc, Conflict{
			Reason:  NoDiscovery,
			Field:   "discovery",
			Problem: "has neither bootstrapToken nor file, so kubeadm cannot find the cluster",
			Fix:     "add bootstrapToken with token and caCertHashes as kubeadm init printed them",
		})
	}
	e := endpoint{f: f, doc: doc, field: discoveryField, mismatch: DiscoveryMismatch}
	if token != nil {
		e.value = token.APIServerEndpoint
	}
	local := localServer{
		doc:    doc,
		path:   "controlPlane.localAPIEndpoint",
		worker: doc.fields.ControlPlane == nil,
	}
	if !local.worker {
		local.endpoint = doc.fields.ControlPlane.LocalAPIEndpoint
	}
	plan, err := f.plan(r, e, local)
	if err != nil {
		return plan, err
	}
	if _, port, _ := e.split(); e.value != "" && port == 0 {
		return plan, e.conflict(PortMismatch, "has no port, and kubeadm join has no default for it",
			"write "+plan.Endpoint)
	}
	plan.ControlPlane, plan.Data = !local.worker, f.data
	if plan.ControlPlane {
		plan.Patches = doc.fields.Patches.Directory
	}
	if token == nil {
		plan.DiscoveryFile = file.KubeConfigPath
		return plan, nil
	}
	edited, err := f.setEndpoint(doc, strings.Split(discoveryField, "."), token.APIServerEndpoint,
		plan)
	if err != nil {
		return plan, err
	}
	plan.Data = edited.data
	return plan, nil
}

// JoinWithoutFile plans a node that joins by flags of kubeadm: it compares VIPs and host only.
func JoinWithoutFile(r Request) (Plan, error) {
	f := &File{name: "command line"}
	plan, err := f.plan(r, endpoint{f: f, field: "--vip"}, localServer{worker: true})
	plan.ControlPlane = true
	return plan, err
}

// Settings returns what `kvip manifest pod` takes from a file: the VIP, the port and the repository
// of images. The zero value of each means that the file does not contain it. It returns an
// *config.InputError for a file that is neither for kubeadm init nor for kubeadm join.
func (f *File) Settings() (vip netip.Addr, port int, repository string, err error) {
	e := endpoint{f: f, doc: f.document(clusterKind), field: "controlPlaneEndpoint"}
	local := localServer{doc: f.document(initKind), path: "localAPIEndpoint"}
	join := f.document(joinKind)
	if e.doc == nil && local.doc == nil && join == nil {
		return vip, 0, "", f.invalid(nil, 0, "", "has no "+clusterKind+", "+initKind+" or "+joinKind)
	}
	if e.doc != nil {
		e.value, repository = e.doc.fields.ControlPlaneEndpoint, e.doc.fields.ImageRepository
	}
	if local.doc != nil {
		local.endpoint = local.doc.fields.LocalAPIEndpoint
	}
	if e.value == "" && join != nil && join.fields.Discovery.BootstrapToken != nil {
		e.doc, e.field = join, discoveryField
		e.value = join.fields.Discovery.BootstrapToken.APIServerEndpoint
		local = localServer{
			doc:      join,
			path:     "controlPlane.localAPIEndpoint",
			endpoint: local.endpoint,
			worker:   join.fields.ControlPlane == nil,
		}
		if !local.worker {
			local.endpoint = join.fields.ControlPlane.LocalAPIEndpoint
		}
	}
	host, stated, err := e.split()
	if err != nil {
		return netip.Addr{}, 0, "", err
	}
	vip, _ = netip.ParseAddr(host)
	if port, err = f.port(0, e, stated, local); err != nil {
		return vip, port, repository, err
	}
	var vips []netip.Addr
	if vip.IsValid() {
		vips = []netip.Addr{vip}
	}
	return vip, port, repository, f.checkServer(vips, port)
}

// DiscoveryServers returns the servers of a kubeconfig. With discovery.file, `kubeadm join` takes
// them as the cluster's.
func DiscoveryServers(kubeconfig []byte) ([]string, error) {
	var content struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := yaml.Unmarshal(kubeconfig, &content); err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	var servers []string
	for _, c := range content.Clusters {
		servers = append(servers, c.Cluster.Server)
	}
	return servers, nil
}

// hostPort returns an address and a port as kubeadm and URLs need them.
func hostPort(a netip.Addr, port int) string {
	return net.JoinHostPort(a.String(), strconv.Itoa(port))
}

func texts(addrs []netip.Addr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

// missing returns the VIPs that are not among the names.
func missing(vips []netip.Addr, names []string) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(vips), func(v netip.Addr) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			a, err := netip.ParseAddr(name)
			return err == nil && a.Unmap() == v
		})
	})
}
