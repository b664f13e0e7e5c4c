package kubeadm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kvip/kvip/test/lab/kindcluster"
)

// A kubelet without a configured node address, on a host whose name leads to 127.0.1.1 as on
// Debian, takes the first address of its link. On the node that has the virtual one it must be the
// node's own.
func TestNodeAddressWithoutFlag(t *testing.T) {
	cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), wellWithin)
	defer cancel()
	holder := steadyHolder(ctx, t)
	const flags = "/var/lib/kubelet/kubeadm-flags.env"
	bash(t, holder, "cp "+flags+" /root/flags.env; cp /etc/hosts /root/hosts")
	t.Cleanup(func() { // /etc/hosts is a mount: it cannot be replaced, only written
		line := "cp /root/flags.env " + flags +
			"; cat /root/hosts >/etc/hosts; rm /root/flags.env /root/hosts; systemctl restart kubelet"
		if _, err := holder.Shell(context.Background(), line); err != nil {
			t.Error(err)
		}
	})
	bash(t, holder, "sed -i 's/--node-ip=[^ \"]*//' "+flags)
	bash(t, holder, `sed "/[[:space:]]$(hostname)\$/d" /root/hosts >/etc/hosts; echo "127.0.1.1 $(hostname)" >>/etc/hosts`)
	if out := bash(t, holder, "getent ahostsv4 $(hostname); cat "+flags); strings.Contains(out,
		holder.Addr.String()) {
		t.Fatalf("the kubelet has a configured address: %s", out)
	}
	// Only the restarted kubelet can replace the reason that is written while none runs. The time
	// of its last heartbeat would not do: it has whole seconds, and after its first report a
	// kubelet to which nothing changes is silent for minutes.
	bash(t, holder, "systemctl stop kubelet")
	const patch = `{"status":{"conditions":[{"type":"Ready","reason":"KubeletRestarts"}]}}`
	if _, err := holder.Kubectl(ctx, "patch", "node", holder.Name, "--subresource=status", "-p",
		patch); err != nil {
		t.Fatal(err)
	}
	bash(t, holder, "systemctl start kubelet")
	err := kindcluster.Eventually(ctx, time.Second, func() error {
		out, err := holder.Kubectl(ctx, "get", "node", holder.Name, "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].reason} {.status.addresses[?(@.type=="InternalIP")].address}`)
		if err != nil {
			return err
		}
		reason, addresses, _ := strings.Cut(out, " ")
		if reason != "KubeletReady" {
			return errors.New("the restarted kubelet has not reported yet: " + out)
		}
		if addresses != holder.Addr.String() {
			t.Errorf("the kubelet of the holder reports the address %s, want %s", addresses, holder.Addr)
		}
		return nil
	})
	if err != nil {
		journal, _ := holder.Shell(context.Background(), "journalctl -u kubelet --no-pager -n 40")
		t.Fatalf("%v\n%s", err, journal)
	}
}

// bash runs a line of bash inside a node; a failure ends the test.
func bash(t *testing.T, n *kindcluster.Node, line string) string {
	t.Helper()
	out, err := n.Shell(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
