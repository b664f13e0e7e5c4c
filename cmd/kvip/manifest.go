package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
	"github.com/kvip/kvip/pkg/manifest"
	"github.com/kvip/kvip/templates"
)

// newManifest returns `kvip manifest`, which groups the printers.
func newManifest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Print Kubernetes manifests that run kvip",
		Long: `
Print Kubernetes manifests that run kvip. The commands need no cluster and apply nothing.`,
		Example: `  kvip manifest pod --vip 192.0.2.10
  kvip manifest rbac
  kvip manifest crd`,
		RunE: needsCommand,
	}
	cmd.AddCommand(newManifestPod(), newManifestDaemonSet(), newManifestRBAC(), newManifestCRD())
	return cmd
}

// setServicesPorts gives a manifest without VIP the ports that are free beside one with a VIP,
// unless the user chose ports.
func setServicesPorts(cmd *cobra.Command, cfg *config.Config) {
	if !cfg.Services || len(cfg.VIPs) > 0 {
		return
	}
	if !cmd.Flags().Changed("health-address") {
		cfg.HealthAddress = config.ServicesHealthAddress
	}
	if !cmd.Flags().Changed("metrics-address") {
		cfg.MetricsAddress = config.ServicesMetricsAddress
	}
}

// hideDaemonSet hides the flag --daemonset: a manifest contains the name already.
func hideDaemonSet(fs *pflag.FlagSet) { fs.Lookup("daemonset").Hidden = true }

// setManifestSection moves a command's own flags to the section of --image.
func setManifestSection(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		config.SetSection(fs.Lookup(name), config.ManifestSection)
	}
}

// newManifestPod returns `kvip manifest pod`.
func newManifestPod() *cobra.Command {
	cfg := config.StaticPod()
	cfg.Image = defaultImage()
	var hardened bool
	var kubeadmConfig string
	cmd := &cobra.Command{
		Use:   "pod",
		Short: "Print the static pod for control-plane nodes",
		Long: `
Print the static pod for control-plane nodes. The first node and nodes that join use the same file.
Put it into the kubelet's manifest directory before 'kubeadm init' or 'kubeadm join'. The agent
starts with the kubeconfigs, applies the RBAC of 'kvip manifest rbac' and then uses a token of its
own ServiceAccount.

With --hardened the pod mounts no kubeconfig and uses that token only. Use it on nodes where /readyz
of kvip already reports the ServiceAccount.`,
		Example: `  kvip manifest pod --vip 192.0.2.10 > /etc/kubernetes/manifests/kvip.yaml

  # VIP, port and image repository from a kubeadm configuration
  kvip manifest pod --kubeadm-config kubeadm.yaml > /etc/kubernetes/manifests/kvip.yaml

  # Later, without the administrator's credentials
  kvip manifest pod --vip 192.0.2.10 --hardened > /etc/kubernetes/manifests/kvip.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := applyKubeadmConfig(cmd, &cfg, kubeadmConfig); err != nil {
				return err
			}
			setServicesPorts(cmd, &cfg)
			build := manifest.Pod
			if hardened {
				build = manifest.HardenedPod
				if cmd.Flags().Changed("kubeconfig") {
					return &config.UsageError{Flag: "hardened", Reason: "a hardened pod uses no kubeconfig",
						Hint: "give --kubeconfig or --hardened, not both"}
				}
			}
			pod, err := build(cfg)
			if err != nil {
				return err
			}
			if err := cfg.CheckUnusedFlags(cmd.Flags()); err != nil {
				return err
			}
			printImageNote(cmd, cfg.Image)
			return manifest.Write(cmd.OutOrStdout(), pod)
		},
	}
	fs := cmd.Flags()
	cfg.AddFlags(fs)
	hideDaemonSet(fs)
	fs.StringVar(&kubeadmConfig, "kubeadm-config", "",
		"`file` with a kubeadm configuration, or - for stdin. "+
			"It provides --vip and --port, and the image <imageRepository>/kvip; flags take precedence")
	fs.BoolVar(&hardened, "hardened", false,
		"omit the kubeconfigs: for nodes where kvip has its own token already")
	setManifestSection(fs, "kubeadm-config", "hardened")
	return cmd
}

// applyKubeadmConfig fills what no flag sets from a kubeadm configuration. A VIP or port that
// contradicts the file is a conflict. An image is not: the file does not say where kvip's image is.
func applyKubeadmConfig(cmd *cobra.Command, cfg *config.Config, path string) error {
	if path == "" {
		return nil
	}
	name, data, err := readKubeadmConfig(cmd.InOrStdin(), "kubeadm-config", path)
	if err != nil {
		return err
	}
	file, err := kubeadm.Parse(name, data)
	if err != nil {
		return err
	}
	vip, port, repository, err := file.Settings()
	if err != nil {
		return err
	}
	mismatch := func(flag, value, configured string) error {
		return &kubeadm.Conflict{
			Reason:  kubeadm.FlagMismatch,
			File:    name,
			Field:   "--" + flag,
			Value:   value,
			Problem: "is not the value of the configuration, which is " + configured,
			Fix:     "remove the flag, or correct the configuration",
		}
	}
	switch given := cmd.Flags().Changed; {
	case !given("vip") && !vip.IsValid():
		return &kubeadm.Conflict{Reason: kubeadm.NoEndpoint, File: name, Field: "controlPlaneEndpoint",
			Problem: "does not contain a virtual IP address", Fix: "give one with --vip"}
	case given("vip") && vip.IsValid() && !slices.Contains(cfg.VIPs, vip):
		return mismatch("vip", cmd.Flag("vip").Value.String(), vip.String())
	case given("port") && cfg.Port != port:
		return mismatch("port", fmt.Sprint(cfg.Port), fmt.Sprint(port))
	case !given("vip"):
		cfg.VIPs = append(cfg.VIPs, vip)
	}
	if cfg.Port = port; repository != "" && !cmd.Flags().Changed("image") {
		cfg.Image = strings.TrimSuffix(repository, "/") + "/kvip:" + version
	}
	return nil
}

// The flags that extend a DaemonSet to more nodes than its jobs need.
const (
	workersFlag       = "workers"
	controlPlanesFlag = "control-planes"
)

// newManifestDaemonSet returns `kvip manifest daemonset`.
func newManifestDaemonSet() *cobra.Command {
	cfg := config.DaemonSet()
	cfg.Image = defaultImage()
	var workers, controlPlanes bool
	cmd := &cobra.Command{
		Use:   "daemonset",
		Short: "Print the DaemonSet for a running cluster",
		Long: `
Print the DaemonSet for a running cluster. It uses the ServiceAccount that 'kvip manifest rbac'
prints for the same flags. With --vip it is named kvip and runs on control-plane nodes. A cluster
that uses the virtual IP from the start needs the static pod instead.

With --services it assigns addresses to Services of type LoadBalancer. Without --vip it is then
named kvip-services and runs on all nodes except control-plane nodes, beside any program that holds
the control plane's VIP. With both flags one DaemonSet does both jobs on every node.`,
		Example: `  kvip manifest rbac | kubectl apply -f -
  kvip manifest daemonset --vip 192.0.2.10 | kubectl apply -f -

  # Addresses for Services
  kvip manifest crd | kubectl apply -f -
  kvip manifest rbac --services | kubectl apply -f -
  kvip manifest daemonset --services | kubectl apply -f -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			setServicesPorts(cmd, &cfg)
			set, err := manifest.DaemonSet(cfg, workers || controlPlanes)
			if err != nil {
				return err
			}
			if err := checkNodeFlags(cmd, cfg); err != nil {
				return err
			}
			printImageNote(cmd, cfg.Image)
			return manifest.Write(cmd.OutOrStdout(), set)
		},
	}
	fs := cmd.Flags()
	cfg.AddFlags(fs, config.Address, config.Interface, config.APIServer, config.Lease, config.Timing,
		config.BGP, config.Metrics, config.Health, config.Services, config.Image, config.Logging)
	hideDaemonSet(fs)
	fs.BoolVar(&workers, workersFlag, false, "with --vip: run on worker nodes too")
	fs.BoolVar(&controlPlanes, controlPlanesFlag, false,
		"with --services and without --vip: run on control-plane nodes too")
	setManifestSection(fs, workersFlag, controlPlanesFlag)
	return cmd
}

// checkNodeFlags refuses flags that have no effect with the jobs of the DaemonSet.
func checkNodeFlags(cmd *cobra.Command, cfg config.Config) error {
	without := map[string]string{}
	if cfg.Services {
		without[workersFlag] = "with --services the DaemonSet runs on workers anyway"
	}
	if len(cfg.VIPs) > 0 {
		without[controlPlanesFlag] = "with --vip the DaemonSet runs on control-plane nodes anyway"
	}
	for _, flag := range []string{workersFlag, controlPlanesFlag} {
		if without[flag] != "" && cmd.Flags().Changed(flag) {
			return &config.UsageError{Flag: flag, Reason: without[flag], Hint: "remove the flag"}
		}
	}
	return cfg.CheckUnusedFlags(cmd.Flags())
}

// newManifestRBAC returns `kvip manifest rbac`.
func newManifestRBAC() *cobra.Command {
	cfg := config.DaemonSet()
	var secrets []string
	cmd := &cobra.Command{
		Use:   "rbac",
		Short: "Print the ServiceAccount, roles and bindings of kvip",
		Long: `
Print the ServiceAccount, roles and bindings of kvip. They grant access to the Lease, to
Events about it, to the Lease that lists its agents, to the EndpointSlice of the API servers, to
their health, and to a new token for the ServiceAccount itself. The static pod applies them with the
administrator's credentials. For the DaemonSet, apply them first.

With --services and without --vip they are those of DaemonSet kvip-services: they grant read access
to Services, EndpointSlices, nodes, pools and the objects of BGP, and write access to the status of
Services, pools and objects of BGP, to Events and to Leases in the namespace. With --services and
--vip one ServiceAccount has both.

No agent may read Secrets, unless --bgp-secret names those with the passwords of BGPPeers.`,
		Example: `  kvip manifest rbac | kubectl apply -f -
  kvip manifest rbac --services | kubectl apply -f -
  kvip manifest rbac --services --bgp-secret router-a,router-b | kubectl apply -f -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objects, err := manifest.RBAC(cfg)
			if err != nil {
				return err
			}
			if err := cfg.CheckUnusedFlags(cmd.Flags()); err != nil {
				return err
			}
			passwords, err := secretsRBAC(cfg, secrets)
			if err != nil {
				return err
			}
			return manifest.Write(cmd.OutOrStdout(), append(objects, passwords...)...)
		},
	}
	cfg.AddFlags(cmd.Flags(), config.Address, config.Lease, config.Services)
	hideDaemonSet(cmd.Flags())
	cmd.Flags().StringSliceVar(&secrets, secretFlag, nil,
		"`names` of Secrets in kube-system with the passwords of BGPPeers, which the agents may read")
	config.SetSection(cmd.Flags().Lookup(secretFlag), config.ServicesSection)
	return cmd
}

// secretFlag names the Secrets that agents of Services may read.
const secretFlag = "bgp-secret"

// secretsRBAC returns the role for the Secrets of these names, if there are any.
func secretsRBAC(cfg config.Config, secrets []string) ([]any, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	if !cfg.Services {
		return nil, &config.UsageError{Flag: secretFlag, Reason: "only agents of Services read Secrets",
			Hint: "add --services, or remove the flag"}
	}
	return manifest.BGPSecretsRBAC(cfg, secrets)
}

// newManifestCRD returns `kvip manifest crd`.
func newManifestCRD() *cobra.Command {
	return &cobra.Command{
		Use:   "crd",
		Short: "Print the CustomResourceDefinitions of pools and of BGP",
		Long: `
Print the CustomResourceDefinitions of kvip.dev/v1alpha1: IPPool, the pools of addresses for
Services, and BGPPeer, BGPAdvertisement, BFDProfile and BGPNodeState, which announce addresses to
routers. Apply them once per cluster, before the first pool, and again after an upgrade. They need
Kubernetes 1.31 or later.`,
		Example: `  kvip manifest crd | kubectl apply -f -`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := bytes.Join(templates.CRDs(), []byte("---\n"))
			if _, err := cmd.OutOrStdout().Write(all); err != nil {
				return fmt.Errorf("write definitions: %w", err)
			}
			return nil
		},
	}
}
