package casestudy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

// object is as much of a Kubernetes object as the case study looks at.
type object struct {
	Metadata struct {
		Name              string
		DeletionTimestamp string
	}
	Spec struct {
		NodeName      string
		Unschedulable bool
	}
	Status struct {
		PodIP                  string
		Conditions             []struct{ Type, Status string }
		DesiredNumberScheduled int
		NumberReady            int
		LoadBalancer           struct{ Ingress []struct{ IP string } }
	}
	Endpoints []struct {
		Conditions struct{ Ready bool }
		TargetRef  struct{ Name string }
	}
	Items []object
}

// control is the node on which kubectl runs.
func (s *Study) control() *kindcluster.Node { return s.Cluster.Nodes[0] }

func (s *Study) get(ctx context.Context, args ...string) (o object, err error) {
	out, err := s.control().Kubectl(ctx, append([]string{"get", "-o", "json"}, args...)...)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal([]byte(out), &o); err != nil {
		return o, fmt.Errorf("read kubectl get %v: %w", args, err)
	}
	return o, nil
}

// pods returns the application's pods that are ready and stay.
func (s *Study) pods(ctx context.Context) (ready []object, err error) {
	list, err := s.get(ctx, "pods", "-n", namespace, "-l", "app="+service)
	for _, pod := range list.Items {
		if pod.Metadata.DeletionTimestamp == "" && pod.ready() {
			ready = append(ready, pod)
		}
	}
	return ready, err
}

func (o object) ready() bool {
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// endpoints returns the names of the pods that the EndpointSlices show as ready.
func (s *Study) endpoints(ctx context.Context) (pods []string, err error) {
	list, err := s.get(ctx, "endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name="+
		service)
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready {
				pods = append(pods, e.TargetRef.Name)
			}
		}
	}
	slices.Sort(pods)
	return pods, err
}

// address returns the address in the Service's status.
func (s *Study) address(ctx context.Context) (netip.Addr, error) {
	o, err := s.get(ctx, "service", "-n", namespace, service)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(o.Status.LoadBalancer.Ingress) == 0 {
		return netip.Addr{}, fmt.Errorf("service %s has no address yet", service)
	}
	return netip.ParseAddr(o.Status.LoadBalancer.Ingress[0].IP)
}

// complete says what is missing from a cluster that is well.
func (s *Study) complete(ctx context.Context) error {
	nodes, err := s.get(ctx, "nodes")
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		if n.Spec.Unschedulable {
			return fmt.Errorf("node %s is cordoned", n.Metadata.Name)
		}
	}
	agents, err := s.get(ctx, "daemonset", "-n", "kube-system", kvipPods)
	if err != nil {
		return err
	}
	if agents.Status.NumberReady != workers || agents.Status.DesiredNumberScheduled != workers {
		return fmt.Errorf("%s: %d of %d pods are ready, want %d", kvipPods, agents.Status.NumberReady,
			agents.Status.DesiredNumberScheduled, workers)
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	endpoints, err := s.endpoints(ctx)
	if err == nil {
		err = s.alive(ctx)
	}
	if err == nil && (len(pods) != replicas || len(endpoints) != replicas) {
		err = fmt.Errorf("%s: %d pods and %d endpoints are ready, want %d", service, len(pods),
			len(endpoints), replicas)
	}
	return err
}

// alive asks the kubelet and the kvip of every worker themselves: the API shows those of a node
// that has just died or started as they were before.
func (s *Study) alive(ctx context.Context) error {
	for _, n := range s.Cluster.Nodes {
		for _, url := range []string{"http://127.0.0.1:10248/healthz", "http://127.0.0.1:2115/readyz"} {
			if n.ControlPlane {
				continue
			}
			if status, body, err := n.Get(ctx, url); err != nil || status != http.StatusOK {
				return errors.Join(err, fmt.Errorf("node %s: %s: %d: %s", n.Name, url, status, body))
			}
		}
	}
	return nil
}

// Status returns what `kvip status service` says, from the kvip on a node.
func (s *Study) Status(ctx context.Context, node string) (string, error) {
	list, err := s.get(ctx, "pods", "-n", "kube-system", "-l", "app.kubernetes.io/component=services",
		"--field-selector", "spec.nodeName="+node)
	if err != nil {
		return "", err
	}
	if len(list.Items) == 0 {
		return "", fmt.Errorf("find the kvip on %s: no pod of %s", node, kvipPods)
	}
	return s.control().Kubectl(ctx, "-n", "kube-system", "exec", list.Items[0].Metadata.Name, "--",
		"/kvip", "status", "service", service, "-n", namespace)
}
