package kubeadm

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kvip/kvip/pkg/config"
)

// MinimalConfig returns a configuration for `kubeadm init` with the endpoint and the VIPs and nothing that
// kubeadm has a default for.
func MinimalConfig(r Request) ([]byte, error) {
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
	lines = append(lines, yamlValue{text: join(vips[0], port)}.block([]string{"controlPlaneEndpoint"}, 0)...)
	lines = append(lines, yamlValue{items: texts(vips)}.block([]string{"apiServer", "certSANs"}, 0)...)
	return strings.Join(lines, eol) + eol
}

// PlanInit plans `kubeadm init`: the ClusterConfiguration gets the VIP as controlPlaneEndpoint, unless
// it has it or a DNS name for it, and all VIPs as certSANs. A file without one gets one at its end.
// It returns a *Conflict where file, VIP and host cannot be meant together.
func (f *File) PlanInit(r Request) (Plan, error) {
	doc, node := f.of(clusterKind), f.of(initKind)
	switch {
	case doc == nil && node == nil && f.of(joinKind) != nil:
		return Plan{}, f.refuse(nil, 0, "", "has a "+joinKind+" alone, which is for kubeadm join")
	case doc == nil && node == nil:
		return Plan{}, f.refuse(nil, 0, "", "has neither "+clusterKind+" nor "+initKind+", one of which kubeadm init needs")
	}
	var has fields
	if doc != nil {
		has = doc.fields
	}
	e := endpoint{f: f, doc: doc, field: "controlPlaneEndpoint", value: has.ControlPlaneEndpoint, elsewhere: EndpointMismatch}
	local := local{f: f, doc: node, path: "localAPIEndpoint"}
	if node != nil {
		local.has = node.fields.LocalAPIEndpoint
	}
	plan, err := f.plan(r, e, local)
	if err != nil {
		return plan, err
	}
	if node != nil {
		plan.Patches = node.fields.Patches.Directory
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
		if edited, err = f.set(doc, []string{"apiServer", "certSANs"}, yamlValue{items: texts(missing)}); err != nil {
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
	return f.set(doc, path, yamlValue{text: plan.Endpoint})
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
