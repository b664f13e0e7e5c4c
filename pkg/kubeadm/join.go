package kubeadm

import (
	"net/netip"
	"strings"
)

// PlanJoin plans `kubeadm join`: the JoinConfiguration gets the VIP as the endpoint of its bootstrap
// token, unless it has it or a DNS name for it. It returns a *Conflict as Init does, and an
// *InputError for a file without a JoinConfiguration.
func (f *File) PlanJoin(r Request) (Plan, error) {
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
	e := endpoint{f: f, doc: doc, field: field, elsewhere: DiscoveryMismatch}
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
	if plan.ControlPlane {
		plan.Patches = doc.fields.Patches.Directory
	}
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

// JoinWithoutFile plans a node that joins by flags, without a file: only VIPs and host are compared.
func JoinWithoutFile(r Request) (Plan, error) {
	f := &File{name: "command line"}
	plan, err := f.plan(r, endpoint{f: f, field: "--vip"}, local{f: f, worker: true})
	plan.ControlPlane = true
	return plan, err
}

// Settings returns what `kvip manifest pod` takes from a file: the VIP, the port and the repository
// of images; an empty address, 0 and "" where the file does not say. It returns an *InputError for a
// file that is for neither kubeadm init nor kubeadm join.
func (f *File) Settings() (vip netip.Addr, port int, repository string, err error) {
	e := endpoint{f: f, doc: f.of(clusterKind), field: "controlPlaneEndpoint"}
	local := local{f: f, doc: f.of(initKind), path: "localAPIEndpoint"}
	if e.doc == nil && local.doc == nil && f.of(joinKind) == nil {
		return vip, 0, "", f.refuse(nil, 0, "", "has no "+clusterKind+", "+initKind+" or "+joinKind)
	}
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
	if port, err = f.port(0, e, stated, local); err != nil {
		return vip, port, repository, err
	}
	var vips []netip.Addr
	if vip.IsValid() {
		vips = []netip.Addr{vip}
	}
	return vip, port, repository, f.checkServer(vips, port)
}
