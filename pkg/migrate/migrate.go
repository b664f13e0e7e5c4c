package migrate

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/templates"
)

// Migrate returns kvip's manifest for one of kube-vip's, a static pod or a DaemonSet, which may be one of several
// documents. A note names each setting and document that it leaves out. It refuses, with an *InputError, a *kubevip.Error
// or a *config.UsageError, what it cannot be sure of. file is for messages, image the one to run.
func Migrate(file string, text []byte, image string) ([]byte, []kubevip.Note, error) {
	work, notes, err := find(file, text)
	if err != nil {
		return nil, nil, err
	}
	env, err := work.environment()
	if err != nil {
		return nil, nil, err
	}
	settings, asked, err := kubevip.FromEnvironment(env)
	if err != nil {
		return nil, nil, work.wrap(err)
	}
	build := work.pod
	if work.daemonSet {
		build = work.set
	}
	objects, own, err := build(settings, image)
	if err != nil {
		return nil, nil, work.wrap(err)
	}
	var out bytes.Buffer
	if settings.Services && work.daemonSet {
		out.Write(templates.CRD)
		out.WriteString("---\n")
	}
	if err := manifest.Write(&out, objects...); err != nil {
		return nil, nil, err
	}
	return out.Bytes(), slices.Concat(asked, own, work.leftOut(), notes), nil
}

// pod makes the static pod. It gives itself its rights, so there is nothing beside it.
func (w *workload) pod(s kubevip.Settings, image string) ([]any, []kubevip.Note, error) {
	c := config.StaticPod()
	s.Kubeconfig = w.onHost(s.Kubeconfig)
	s.Apply(&c)
	c.Image = image
	var notes []kubevip.Note
	if s.Services {
		notes = append(notes, kubevip.Note{Name: "svc_enable", Text: "a static pod brings no CustomResourceDefinition; apply what `kvip manifest crd` prints"})
	}
	pod, err := manifest.Pod(c)
	return []any{pod}, notes, err
}

// set makes the DaemonSet, on the nodes that kube-vip's was on, and its rights before it.
func (w *workload) set(s kubevip.Settings, image string) ([]any, []kubevip.Note, error) {
	c := config.DaemonSet()
	if !s.ControlPlane {
		c = config.ServicesDaemonSet()
	}
	var notes []kubevip.Note
	if s.Kubeconfig != "" {
		notes = append(notes, kubevip.Note{Name: "k8s_config_file", Text: "a DaemonSet uses its ServiceAccount"})
		w.kubeconfig, s.Kubeconfig = s.Kubeconfig, ""
	}
	s.Apply(&c)
	c.Image = image
	objects, err := manifest.RBAC(c)
	if err != nil {
		return nil, nil, err
	}
	set, err := manifest.DaemonSet(c, true)
	if err != nil {
		return nil, nil, err
	}
	w.schedule(&set.Spec.Template.Spec)
	return append(objects, set), notes, nil
}

// schedule lets the pods run where kube-vip's do, and nowhere else.
func (w *workload) schedule(spec *corev1.PodSpec) {
	spec.Affinity, spec.Tolerations = w.spec.Affinity, w.spec.Tolerations
	spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
	maps.Copy(spec.NodeSelector, w.spec.NodeSelector)
}

// leftOut names what of the pod has no place in kvip's.
func (w *workload) leftOut() []kubevip.Note {
	var notes []kubevip.Note
	note := func(missing bool, field, text string) {
		if missing {
			notes = append(notes, kubevip.Note{Name: w.field(field), Text: text})
		}
	}
	c := w.spec.Containers[0]
	note(w.namespace != "" && w.namespace != manifest.ServiceAccountNamespace, "metadata.namespace", "kvip runs in "+manifest.ServiceAccountNamespace)
	note(len(c.Resources.Limits)+len(c.Resources.Requests) > 0, w.path+"containers[0].resources", "kvip has requests and limits of its own")
	note(len(w.spec.ImagePullSecrets) > 0, w.path+"imagePullSecrets", "is left out; add it if the image of kvip needs it")
	for i, mount := range c.VolumeMounts {
		usual := mount.MountPath == "/etc/hosts" || slices.Contains(config.AdminKubeconfigs(), mount.MountPath) || mount.MountPath == w.kubeconfig
		note(!usual, fmt.Sprintf("%scontainers[0].volumeMounts[%d]", w.path, i), "is left out")
	}
	return notes
}
