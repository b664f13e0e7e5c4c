package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/pkg/kubeadm"
)

// kubeadmConfigUsage is the help of `kvip manifest pod --kubeadm-config`.
const kubeadmConfigUsage = "kubeadm configuration to take --vip and --port from, and from its imageRepository --image as <repository>/kvip (-: stdin); flags win"

// takeFromKubeadm fills what no flag says from a kubeadm configuration. A flag that contradicts the
// file is a conflict; the image is nobody's fact, so there the flag just wins.
func takeFromKubeadm(cmd *cobra.Command, cfg *config.Config, path string) error {
	if path == "" {
		return nil
	}
	name, data, err := readConfig(cmd.InOrStdin(), "kubeadm-config", path)
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
	differs := func(flag, value, says string) error {
		return &kubeadm.Conflict{Reason: kubeadm.FlagMismatch, File: name, Field: "--" + flag, Value: value,
			Problem: "is not what the configuration says: " + says, Fix: "leave the flag out, or correct the configuration"}
	}
	switch given := cmd.Flags().Changed; {
	case !given("vip") && !vip.IsValid():
		return &kubeadm.Conflict{Reason: kubeadm.NoEndpoint, File: name, Field: "controlPlaneEndpoint",
			Problem: "is no virtual IP address", Fix: "give one with --vip"}
	case given("vip") && vip.IsValid() && !slices.Contains(cfg.VIPs, vip):
		return differs("vip", cmd.Flag("vip").Value.String(), vip.String())
	case given("port") && cfg.Port != port:
		return differs("port", fmt.Sprint(cfg.Port), fmt.Sprint(port))
	default:
		if !given("vip") {
			cfg.VIPs = append(cfg.VIPs, vip)
		}
		if cfg.Port = port; repository != "" && !given("image") {
			cfg.Image = strings.TrimSuffix(repository, "/") + "/kvip:" + version
		}
	}
	return nil
}
