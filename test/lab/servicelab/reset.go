package servicelab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/apis/v1alpha1"
	"github.com/kvip/kvip/pkg/kubevip"
	"github.com/kvip/kvip/pkg/nftfilter"
	"github.com/kvip/kvip/test/lab/cluster"
)

// Reset does what Cluster.Reset does, and removes all that is of Services: the objects, what agents
// left on the nodes, and what agents and client remember. Backends stay.
func (l *Lab) Reset(ctx context.Context) error {
	if err := l.Cluster.Reset(ctx); err != nil {
		return err
	}
	errs := []error{l.InstallPools(ctx), l.removeObjects(ctx)}
	for _, n := range l.AllNodes() {
		errs = append(errs, l.resetNode(n))
	}
	errs = append(errs, l.Client.RemoveAddedAddrs(),
		l.Client.Do(func() error { return exec.Command("ip", "neighbour", "flush", "all").Run() }))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reset lab of Services: %w", err)
	}
	return nil
}

// resetNode removes what agents left on a node, and their log.
func (l *Lab) resetNode(n *cluster.Node) error {
	err := os.Remove(n.Log("kvip"))
	if os.IsNotExist(err) {
		err = nil
	}
	return errors.Join(err, n.Host.Do(func() error {
		there, err := nftfilter.Installed()
		if err != nil || !there {
			return err
		}
		return nftfilter.Cleanup()
	}))
}

// removeObjects removes every object that stories make.
func (l *Lab) removeObjects(ctx context.Context) error {
	all := metav1.ListOptions{}
	core := l.Kube.CoreV1()
	services, err := core.Services("").List(ctx, all)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range services.Items {
		if s.Namespace+"/"+s.Name != "default/kubernetes" {
			errs = append(errs, missing(core.Services(s.Namespace).Delete(ctx, s.Name,
				metav1.DeleteOptions{})))
		}
	}
	slices, err := l.Kube.DiscoveryV1().EndpointSlices("").List(ctx, all)
	errs = append(errs, err)
	for _, s := range slices.Items {
		if s.Namespace+"/"+s.Name != "default/kubernetes" {
			errs = append(errs, missing(l.Kube.DiscoveryV1().EndpointSlices(s.Namespace).Delete(ctx, s.Name,
				metav1.DeleteOptions{})))
		}
	}
	events, err := core.Events("").List(ctx, all)
	errs = append(errs, err)
	for _, e := range events.Items {
		errs = append(errs, missing(core.Events(e.Namespace).Delete(ctx, e.Name, metav1.DeleteOptions{})))
	}
	system := metav1.NamespaceSystem
	return errors.Join(append(errs,
		core.Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, all),
		l.removeDefined(ctx),
		l.Kube.AppsV1().DaemonSets(system).DeleteCollection(ctx, metav1.DeleteOptions{}, all),
		missing(core.ConfigMaps(kubevip.PoolsNamespace).Delete(ctx, kubevip.PoolsConfigMap,
			metav1.DeleteOptions{})))...)
}

// removeDefined removes all objects of kvip.
func (l *Lab) removeDefined(ctx context.Context) error {
	var errs []error
	for _, plural := range definedPlurals {
		errs = append(errs, l.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(plural)).
			DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	}
	return errors.Join(errs...)
}

// missing makes nothing of an object that is not there.
func missing(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
