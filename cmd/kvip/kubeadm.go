package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/link"
	"github.com/kvip/kvip/pkg/vip"
)

// resolveTimeout bounds the look-up of a DNS name in a kubeadm configuration.
const resolveTimeout = 5 * time.Second

// newKubeadm returns `kvip kubeadm`, which groups what precedes kubeadm's own commands.
func newKubeadm() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubeadm",
		Short: "Prepare a node for kubeadm with a virtual IP",
		Long: `Prepare a node for kubeadm with a virtual IP: edit kubeadm's configuration and write the static pod.
kubeadm itself is not run; the command to run next is printed.`,
		Example: `  kvip kubeadm init --vip 192.0.2.10
  kvip kubeadm join --vip 192.0.2.10`,
		RunE: needsCommand,
	}
	cmd.AddCommand(newKubeadmInit(), newKubeadmJoin())
	return cmd
}

// newKubeadmInit returns `kvip kubeadm init`.
func newKubeadmInit() *cobra.Command {
	p := newPreparation("init")
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Prepare the first control-plane node for `kubeadm init`",
		Long: `Prepare the first control-plane node for 'kubeadm init': set controlPlaneEndpoint in kubeadm's
configuration to the virtual IP, add it to the API server's certSANs, and write the static pod.

The configuration is the file of --config, edited in place unless --output names another; every
other line of it stays as it is. From stdin (--config -) it goes to stdout. Without --config a
minimal one is written to kubeadm.yaml. Without --vip, the configuration's endpoint is the virtual
IP. Of two addresses the first becomes the endpoint, and both get into the certificate. A DNS name
that the configuration has as endpoint stays, if it resolves to the virtual IP.

Refused with exit code 2, and nothing is written, where configuration, virtual IP and this host do
not go together. A manifest, or a file of --output, that exists and differs is overwritten only
with --force.`,
		Example: `  kvip kubeadm init --vip 192.0.2.10
  kvip kubeadm init --vip 192.0.2.10 --config kubeadm.yaml --dry-run
  cat kubeadm.yaml | kvip kubeadm init --vip 192.0.2.10,2001:db8::10 --config - > edited.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.addFlags(cmd.Flags())
	return cmd
}

// newKubeadmJoin returns `kvip kubeadm join`.
func newKubeadmJoin() *cobra.Command {
	p := newPreparation("join")
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Prepare a further control-plane node for `kubeadm join`",
		Long: `Prepare a further control-plane node for 'kubeadm join': write the same static pod as on the first
node and, with --config, set discovery.bootstrapToken.apiServerEndpoint of the JoinConfiguration to
the virtual IP. The file is edited in place unless --output names another; from stdin (--config -)
it goes to stdout. Without --config only the static pod is written, and the printed command has
places for the token, the hash and the key that 'kubeadm init --upload-certs' printed.

Give the same flags as to 'kvip kubeadm init': equal flags give equal manifests. A JoinConfiguration
without controlPlane is a worker's and gets no static pod.

Refused with exit code 2, and nothing is written, where configuration, virtual IP and this host do
not go together. A manifest, or a file of --output, that exists and differs is overwritten only
with --force.`,
		Example: `  kvip kubeadm join --vip 192.0.2.10
  kvip kubeadm join --vip 192.0.2.10 --config join.yaml --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.addFlags(cmd.Flags())
	return cmd
}

// hostAddresses lists what this host has, and what of it kvip itself put there.
func hostAddresses(vips []netip.Addr) ([]kubeadm.Address, error) {
	found, err := link.Addresses()
	if err != nil {
		return nil, fmt.Errorf("read addresses of this host: %w; leave them out with --skip-host-checks", err)
	}
	marked, err := vip.Netlink(vips).List()
	if err != nil {
		return nil, fmt.Errorf("read addresses of this host: %w; leave them out with --skip-host-checks", err)
	}
	all := make([]kubeadm.Address, 0, len(found))
	for _, a := range found {
		own := slices.ContainsFunc(marked, func(m vip.Marked) bool { return m.VIP == a.Prefix.Addr() })
		all = append(all, kubeadm.Address{Prefix: a.Prefix, Link: a.Link, Managed: own})
	}
	return all, nil
}

// resolver looks names up as this host does.
func resolver(ctx context.Context) func(string) ([]netip.Addr, error) {
	return func(name string) ([]netip.Addr, error) {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
		return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}
}
