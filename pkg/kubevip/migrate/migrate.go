package migrate

import (
	"bytes"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
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
	flags, env, unread, err := work.settings()
	if err != nil {
		return nil, nil, err
	}
	settings, asked, err := kubevip.Parse(flags, env)
	if err != nil {
		return nil, nil, work.wrap(err)
	}
	build := work.pod
	if work.account = work.inCluster(settings.Kubeconfig); work.daemonSet || work.account {
		build = work.objects
	}
	objects, own, err := build(settings, image)
	if err != nil {
		return nil, nil, work.wrap(kubevip.TranslateError(err))
	}
	var out bytes.Buffer
	if settings.Services && (work.daemonSet || work.account) {
		out.Write(templates.CRD)
		out.WriteString("---\n")
	}
	if err := manifest.Write(&out, objects...); err != nil {
		return nil, nil, err
	}
	return out.Bytes(), slices.Concat(asked, unread, own, work.leftOut(settings.MetricsAddress), notes), nil
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
	if err != nil {
		return nil, nil, err
	}
	w.carry(&pod.ObjectMeta, &pod.Spec, c.MetricsAddress)
	return []any{pod}, notes, nil
}

// objects makes a DaemonSet, on the nodes that kube-vip's was on, and its rights before it; or a Pod in its place, where
// kube-vip was one that has a ServiceAccount.
func (w *workload) objects(s kubevip.Settings, image string) ([]any, []kubevip.Note, error) {
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
	w.carrySet(set, c.MetricsAddress)
	if !w.daemonSet {
		return append(objects, podOf(set)), notes, nil
	}
	return append(objects, set), notes, nil
}

// podOf returns the pod that a DaemonSet would make.
func podOf(set *appsv1.DaemonSet) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	pod.APIVersion, pod.Kind = corev1.SchemeGroupVersion.String(), "Pod"
	pod.Name, pod.Namespace = set.Name, set.Namespace
	c := &pod.Spec.Containers[0]
	// It belongs to no DaemonSet whose end would be its own.
	c.Args = slices.DeleteFunc(c.Args, func(arg string) bool { return strings.HasPrefix(arg, "--daemonset=") })
	return pod
}
