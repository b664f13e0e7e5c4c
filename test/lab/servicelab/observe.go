package servicelab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/svc/speaker"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/lab/netlab"
)

// pageTimeout bounds one question to an agent's page.
const pageTimeout = 2 * time.Second

// Holders are the names of the nodes whose kernel has the address on any link.
func (l *Lab) Holders(addr netip.Addr) (names []string) {
	for _, n := range l.AllNodes() {
		for _, have := range AddressesOf(n.Host) {
			if have == addr {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

// AddressesOf are all addresses of a host; none where they cannot be read.
func AddressesOf(h *netlab.Host) (all []netip.Addr) {
	_ = h.Do(func() error { // a host that does not answer has none
		list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		for _, a := range list {
			if addr, ok := netip.AddrFromSlice(a.IP); ok {
				all = append(all, addr.Unmap())
			}
		}
		return err
	})
	return all
}

// Page reads a page of the node's agent at its metrics port, as an agent elsewhere would. The error
// reports that none answers.
func (l *Lab) Page(n *cluster.Node, path string) (code int, body []byte, err error) {
	_, port, err := net.SplitHostPort(config.DefaultMetricsAddress)
	if err != nil {
		return 0, nil, err
	}
	return get(n.Host, net.JoinHostPort(n.Host.Addr(true).String(), port), path)
}

// LocalPage reads a page of the node's agent at its loopback port, as /readyz.
func (l *Lab) LocalPage(n *cluster.Node, path string) (code int, body []byte, err error) {
	return get(n.Host, config.DefaultHealthAddress, path)
}

func get(h *netlab.Host, address, path string) (code int, body []byte, err error) {
	client := &http.Client{Timeout: pageTimeout,
		Transport: &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, errors.Join(err, response.Body.Close())
}

// Report is what the node's agent says of all Services, or with a name of one.
func (l *Lab) Report(n *cluster.Node, service string) (r speaker.Report, err error) {
	path := "/services"
	if service != "" {
		namespace, name := split(service)
		path += "?name=" + namespace + "/" + name
	}
	code, body, err := l.Page(n, path)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d: %s", code, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read /services of %s: %w", n.Name, err)
	}
	return r, nil
}

// Metrics are the samples of one /metrics page by name and labels.
type Metrics map[string]float64

var sample = regexp.MustCompile(`(?m)^([a-z_]+(?:\{.*\})?) ([^ \n]+)$`)

// Metrics reads what the node's agent serves for Prometheus.
func (l *Lab) Metrics(n *cluster.Node) (Metrics, error) {
	_, body, err := l.Page(n, "/metrics")
	if err != nil {
		return nil, fmt.Errorf("read /metrics of %s: %w", n.Name, err)
	}
	m := Metrics{}
	for _, line := range sample.FindAllStringSubmatch(string(body), -1) {
		if value, err := strconv.ParseFloat(line[2], 64); err == nil {
			m[line[1]] = value
		}
	}
	return m, nil
}

// Sum adds the samples whose name and labels contain all the words.
func (m Metrics) Sum(words ...string) (sum float64) {
	for name, value := range m {
		if ContainsAll(name, words...) {
			sum += value
		}
	}
	return sum
}

// ContainsAll reports whether a text has all the words.
func ContainsAll(text string, words ...string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// LogOf is what agents on the node have written since the last Reset.
func (l *Lab) LogOf(n *cluster.Node) string {
	text, err := os.ReadFile(n.Log("kvip"))
	if err != nil {
		return ""
	}
	return string(text)
}

// Events are those about objects of that kind and name, in all namespaces.
func (l *Lab) Events(ctx context.Context, kind, name string) ([]corev1.Event, error) {
	list, err := l.Kube.CoreV1().Events("").List(ctx,
		metav1.ListOptions{FieldSelector: "involvedObject.kind=" + kind + ",involvedObject.name=" + name})
	if err != nil {
		return nil, fmt.Errorf("list events of %s %s: %w", kind, name, err)
	}
	return list.Items, nil
}
